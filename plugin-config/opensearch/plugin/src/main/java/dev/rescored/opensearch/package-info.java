/**
 * The OpenSearch plugin: a rescorer that runs on data nodes, a pair of search pipeline processors that runs on the
 * coordinating node, and their statistics.
 *
 * <p>What decides is pure and knows no engine ({@link dev.rescored.common.PassageTemplate},
 * {@link dev.rescored.opensearch.QueryText}, {@link dev.rescored.common.Scores},
 * {@link dev.rescored.common.RerankOptions}); {@link dev.rescored.common.Sidecar} makes the calls.
 * Names that moved between OpenSearch 2.x and 3.x are used only in {@code src/main/templates}.
 */
package dev.rescored.opensearch;
