/**
 * The Elasticsearch plugin: a rescorer that runs on data nodes, and its statistics.
 *
 * <p>What decides knows no engine and is in {@link dev.rescored.common}; this package reads settings and {@code _source}.
 * Names that differ between Elasticsearch 8.19 and 9.x are used only in {@code src/main/templates}.
 */
package dev.rescored.elasticsearch;
