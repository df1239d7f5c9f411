package dev.rescored.opensearch;

import dev.rescored.client.RescoredClient;
import dev.rescored.common.RerankOptions.OnFailure;
import dev.rescored.common.Sidecar;
import dev.rescored.common.Sidecar.Caller;
import dev.rescored.common.TrustedCertificates;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import org.opensearch.common.settings.ClusterSettings;
import org.opensearch.common.settings.SecureSetting;
import org.opensearch.common.settings.Setting;
import org.opensearch.common.settings.Setting.Property;
import org.opensearch.common.settings.Settings;
import org.opensearch.common.unit.TimeValue;
import org.opensearch.core.common.settings.SecureString;

/** What {@code opensearch.yml} and the keystore may say of the sidecar. */
final class RescoredSettings {

    /** Addresses: {@code http://host:port}, {@code https://host:port} or {@code unix:/path}. */
    static final Setting<List<String>> ENDPOINTS = Setting.listSetting(
            "rescored.endpoints", List.of("http://127.0.0.1:8787"), RescoredSettings::endpoint, Property.NodeScope);

    /** In the keystore: sent as {@code Authorization: Bearer}. */
    static final Setting<SecureString> KEY = SecureSetting.secureString("rescored.key", null);

    /** The model's name at the sidecar; empty is its default. */
    static final Setting<String> MODEL = Setting.simpleString("rescored.model", Property.NodeScope);

    /** Of one call, whatever it waits for. */
    static final Setting<TimeValue> TIMEOUT = Setting.timeSetting(
            "rescored.timeout", TimeValue.timeValueSeconds(1), TimeValue.timeValueMillis(1), Property.NodeScope, Property.Dynamic);

    /** Of one connection. */
    static final Setting<TimeValue> CONNECT_TIMEOUT = Setting.timeSetting(
            "rescored.connect_timeout", TimeValue.timeValueMillis(500), TimeValue.timeValueMillis(1), Property.NodeScope);

    /** keep or fail. */
    static final Setting<OnFailure> ON_FAILURE = new Setting<>(
            "rescored.on_failure", "keep", OnFailure::parse, Property.NodeScope, Property.Dynamic);

    /** Calls of this node under way at once. */
    static final Setting<Integer> CONCURRENCY = Setting.intSetting("rescored.concurrency", 16, 1, 1024, Property.NodeScope);

    /** A file in the configuration's folder: certificates (PEM) to trust instead of the JDK's. */
    static final Setting<String> CERTIFICATE_AUTHORITIES =
            Setting.simpleString("rescored.ssl.certificate_authorities", Property.NodeScope);

    private RescoredSettings() {}

    static List<Setting<?>> all() {
        return List.of(ENDPOINTS, KEY, MODEL, TIMEOUT, CONNECT_TIMEOUT, ON_FAILURE, CONCURRENCY, CERTIFICATE_AUTHORITIES);
    }

    /** This node's client. */
    static Sidecar sidecar(Settings settings, ClusterSettings clusterSettings, Path configFolder) {
        Sidecar sidecar = new Sidecar(
                () -> client(settings, configFolder), duration(TIMEOUT.get(settings)), ON_FAILURE.get(settings), Caller.RESCORER, Caller.PIPELINE);
        clusterSettings.addSettingsUpdateConsumer(TIMEOUT, value -> sidecar.setTimeout(duration(value)));
        clusterSettings.addSettingsUpdateConsumer(ON_FAILURE, sidecar::setOnFailure);
        return sidecar;
    }

    private static RescoredClient client(Settings settings, Path configFolder) {
        RescoredClient.Builder builder = RescoredClient.builder()
                .endpoints(ENDPOINTS.get(settings)).model(MODEL.get(settings)).key(key(settings))
                .maxConcurrent(CONCURRENCY.get(settings)).connectTimeout(duration(CONNECT_TIMEOUT.get(settings)));
        String authorities = CERTIFICATE_AUTHORITIES.get(settings);
        if (!authorities.isEmpty()) {
            builder.sslContext(TrustedCertificates.context(CERTIFICATE_AUTHORITIES.getKey(), configFolder.resolve(authorities)));
        }
        return builder.build();
    }

    /** The key as the keystore has it. */
    static String key(Settings settings) {
        try (SecureString key = KEY.get(settings)) {
            return key.toString();
        }
    }

    private static Duration duration(TimeValue value) {
        return Duration.ofMillis(value.millis());
    }

    private static String endpoint(String text) {
        try {
            RescoredClient.builder().endpoints(List.of(text));
            return text;
        } catch (IllegalArgumentException fault) {
            throw new IllegalArgumentException("[rescored.endpoints]: " + fault.getMessage(), fault);
        }
    }
}
