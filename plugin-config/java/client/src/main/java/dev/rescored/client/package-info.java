/**
 * A blocking client for rescored's {@code POST /v1/rerank}, for plugins of search engines.
 *
 * <p>It owns connections (TCP, TLS, UNIX sockets), deadlines, circuit breakers and counters, and starts no thread: a
 * call runs in its caller's thread. It knows no search engine, and needs nothing beside the JDK.
 */
package dev.rescored.client;
