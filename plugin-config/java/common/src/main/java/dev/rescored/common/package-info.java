/**
 * What the plugins of several engines have in common: options of a search, the text of a document, how two scores become
 * one, and the node's client with its counters. Owns no engine's class; a plugin reads its engine's settings and
 * documents, and hands over values of the JDK.
 */
package dev.rescored.common;
