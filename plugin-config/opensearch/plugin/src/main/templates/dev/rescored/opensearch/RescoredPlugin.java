package dev.rescored.opensearch;

import ${opensearch.client}.Client;
import dev.rescored.common.RerankOptions;
import dev.rescored.common.Sidecar;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Supplier;
import org.opensearch.action.ActionRequest;
import org.opensearch.cluster.metadata.IndexNameExpressionResolver;
import org.opensearch.cluster.node.DiscoveryNodes;
import org.opensearch.cluster.service.ClusterService;
import org.opensearch.common.settings.ClusterSettings;
import org.opensearch.common.settings.IndexScopedSettings;
import org.opensearch.common.settings.Setting;
import org.opensearch.common.settings.Settings;
import org.opensearch.common.settings.SettingsFilter;
import org.opensearch.core.action.ActionResponse;
import org.opensearch.core.common.io.stream.NamedWriteableRegistry;
import org.opensearch.core.xcontent.NamedXContentRegistry;
import org.opensearch.env.Environment;
import org.opensearch.env.NodeEnvironment;
import org.opensearch.plugins.ActionPlugin;
import org.opensearch.plugins.Plugin;
import org.opensearch.plugins.ReloadablePlugin;
import org.opensearch.plugins.SearchPipelinePlugin;
import org.opensearch.plugins.SearchPlugin;
import org.opensearch.repositories.RepositoriesService;
import org.opensearch.rest.RestController;
import org.opensearch.rest.RestHandler;
import org.opensearch.script.ScriptService;
import org.opensearch.search.pipeline.Processor;
import org.opensearch.search.pipeline.SearchRequestProcessor;
import org.opensearch.search.pipeline.SearchResponseProcessor;
import org.opensearch.threadpool.ExecutorBuilder;
import org.opensearch.threadpool.FixedExecutorBuilder;
import org.opensearch.threadpool.ThreadPool;
import org.opensearch.watcher.ResourceWatcherService;

/** Where OpenSearch finds the parts. */
public final class RescoredPlugin extends Plugin implements SearchPlugin, SearchPipelinePlugin, ActionPlugin, ReloadablePlugin {

    /** Threads that wait for the sidecar on behalf of pipelines. */
    private static final String POOL = "rescored";
    /** Searches that wait for a thread, for each thread. */
    private static final int QUEUE = 16;

    // The node asks for parsers and processors before it makes the components.
    private final AtomicReference<Sidecar> sidecar = new AtomicReference<>();
    private final AtomicReference<ThreadPool> threads = new AtomicReference<>();

    @Override
    public Collection<Object> createComponents(
            Client client, ClusterService clusterService, ThreadPool threadPool, ResourceWatcherService resourceWatcherService,
            ScriptService scriptService, NamedXContentRegistry xContentRegistry, Environment environment,
            NodeEnvironment nodeEnvironment, NamedWriteableRegistry namedWriteableRegistry,
            IndexNameExpressionResolver indexNameExpressionResolver, Supplier<RepositoriesService> repositoriesServiceSupplier) {
        threads.set(threadPool);
        sidecar.set(RescoredSettings.sidecar(environment.settings(), clusterService.getClusterSettings(), environment.${opensearch.config.folder}()));
        return List.of(sidecar.get());
    }

    @Override
    public List<Setting<?>> getSettings() {
        return RescoredSettings.all();
    }

    @Override
    public List<ExecutorBuilder<?>> getExecutorBuilders(Settings settings) {
        int size = RescoredSettings.CONCURRENCY.get(settings);
        return List.of(new FixedExecutorBuilder(settings, POOL, size, size * QUEUE, "rescored.thread_pool"));
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
    public List<SearchExtSpec<?>> getSearchExts() {
        return List.of(new SearchExtSpec<>(RescoredExt.NAME, RescoredExt::new, RescoredExt::parse));
    }

    @Override
    public Map<String, Processor.Factory<SearchRequestProcessor>> getRequestProcessors(Parameters parameters) {
        return Map.of(RequestHalf.TYPE, (factories, tag, description, ignoreFailure, config, context) ->
                new RequestHalf(tag, description, ignoreFailure, RerankOptions.ofProcessor(config), sidecar.get()));
    }

    @Override
    public Map<String, Processor.Factory<SearchResponseProcessor>> getResponseProcessors(Parameters parameters) {
        return Map.of(RequestHalf.TYPE, (factories, tag, description, ignoreFailure, config, context) ->
                new ResponseHalf(tag, description, ignoreFailure, sidecar.get(), threads.get().executor(POOL)));
    }

    @Override
    public List<ActionHandler<? extends ActionRequest, ? extends ActionResponse>> getActions() {
        return List.of(new ActionHandler<>(ClusterStats.ACTION, StatsTransport.class));
    }

    @Override
    public List<RestHandler> getRestHandlers(
            Settings settings, RestController restController, ClusterSettings clusterSettings, IndexScopedSettings indexScopedSettings,
            SettingsFilter settingsFilter, IndexNameExpressionResolver indexNameExpressionResolver, Supplier<DiscoveryNodes> nodesInCluster) {
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
