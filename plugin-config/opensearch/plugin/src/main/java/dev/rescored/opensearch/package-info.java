/**
 * The OpenSearch plugin: a rescorer that runs on data nodes, a pair of search pipeline processors that runs on the
 * coordinating node, and their statistics.
 *
 * <p>What decides is pure and knows no engine ({@link dev.rescored.opensearch.PassageTemplate},
 * {@link dev.rescored.opensearch.QueryText}, {@link dev.rescored.opensearch.Scores},
 * {@link dev.rescored.opensearch.RerankOptions}); {@link dev.rescored.opensearch.Sidecar} makes the calls.
 * Names that moved between OpenSearch 2.x and 3.x are used only in {@code src/main/templates}.
 */
package dev.rescored.opensearch;
