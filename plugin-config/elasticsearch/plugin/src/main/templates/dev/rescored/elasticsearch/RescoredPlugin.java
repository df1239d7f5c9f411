package dev.rescored.elasticsearch;

import dev.rescored.common.Sidecar;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import org.elasticsearch.common.settings.Setting;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.plugins.ReloadablePlugin;
import org.elasticsearch.plugins.SearchPlugin;
import org.elasticsearch.rest.RestHandler;

/** Where Elasticsearch finds the parts. */
public final class RescoredPlugin extends Plugin implements SearchPlugin, ActionPlugin, ReloadablePlugin {

    // The node asks for parsers before it makes the components.
    private final AtomicReference<Sidecar> sidecar = new AtomicReference<>();

    @Override
    public Collection<?> createComponents(PluginServices services) {
        sidecar.set(RescoredSettings.sidecar(
                services.environment().settings(), services.clusterService().getClusterSettings(), services.environment().configDir()));
        return List.of(sidecar.get());
    }

    @Override
    public List<Setting<?>> getSettings() {
        return RescoredSettings.all();
    }

    @Override
    public void reload(Settings settings) {
        sidecar.get().setKey(RescoredSettings.key(settings));
    }

    @Override
    public List<RescorerSpec<?>> getRescorers() {
        return List.of(new RescorerSpec<>(
                RescoredRescorerBuilder.NAME, in -> new RescoredRescorerBuilder(in, sidecar::get),
                parser -> RescoredRescorerBuilder.parse(parser, sidecar::get)));
    }

    @Override
    public ${elasticsearch.actions} getActions() {
        return List.of(new ${elasticsearch.action}(ClusterStats.ACTION, StatsTransport.class));
    }

    @Override
    public Collection<RestHandler> getRestHandlers(
            ${elasticsearch.rest.services},
            java.util.function.Supplier<org.elasticsearch.cluster.node.DiscoveryNodes> nodesInCluster,
            java.util.function.Predicate<org.elasticsearch.features.NodeFeature> clusterSupportsFeature) {
        return List.of(new StatsHandler());
    }

    @Override
    public void close() {
        Sidecar ours = sidecar.get();
        if (ours != null) {
            ours.close();
        }
    }
}
