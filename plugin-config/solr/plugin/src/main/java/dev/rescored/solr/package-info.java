/**
 * The Solr plugin: a query parser for {@code rq}, which reranks the best hits of a core. What decides knows no engine and
 * is in {@link dev.rescored.common}; this package reads parameters, stored fields and the parser's configuration.
 */
package dev.rescored.solr;
