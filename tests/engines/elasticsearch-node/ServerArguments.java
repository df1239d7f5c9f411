import java.nio.file.Path;
import java.util.Map;
import org.elasticsearch.bootstrap.ServerArgs;
import org.elasticsearch.common.io.stream.OutputStreamStreamOutput;
import org.elasticsearch.common.settings.KeyStoreWrapper;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.node.InternalSettingsPreparer;

/** Prints what a node's `main` reads from its input, as the release's start script gives it: home, then secrets as NAME=VALUE. */
public final class ServerArguments {

    public static void main(String[] arguments) throws Exception {
        Path home = Path.of(arguments[0]);
        KeyStoreWrapper keystore = KeyStoreWrapper.create();
        for (int n = 1; n < arguments.length; n++) {
            String[] secret = arguments[n].split("=", 2);
            keystore.setString(secret[0], secret[1].toCharArray());
        }
        Settings settings = InternalSettingsPreparer.prepareEnvironment(
                Settings.builder().put("path.home", home).build(), Map.of(), home.resolve("config"), () -> "node").settings();
        try (OutputStreamStreamOutput out = new OutputStreamStreamOutput(System.out)) {
            new ServerArgs(false, false, null, keystore, settings, home.resolve("config"), home.resolve("logs")).writeTo(out);
        }
    }
}
