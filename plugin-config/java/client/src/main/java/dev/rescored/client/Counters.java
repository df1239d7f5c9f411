package dev.rescored.client;

import dev.rescored.client.RescoredException.Kind;
import java.util.Collections;
import java.util.EnumMap;
import java.util.Map;
import java.util.concurrent.atomic.LongAdder;

/** What a client counts from its start on. */
final class Counters {

    final LongAdder calls = new LongAdder();
    final LongAdder answered = new LongAdder();
    final LongAdder documents = new LongAdder();
    final LongAdder cached = new LongAdder();
    final LongAdder retries = new LongAdder();
    final LongAdder connections = new LongAdder();
    final LongAdder answeredMicros = new LongAdder();
    private final Map<Kind, LongAdder> failures = new EnumMap<>(Kind.class);

    Counters() {
        for (Kind kind : Kind.values()) {
            failures.put(kind, new LongAdder());
        }
    }

    void failed(Kind kind) {
        failures.get(kind).increment();
    }

    Map<Kind, Long> failures() {
        Map<Kind, Long> sums = new EnumMap<>(Kind.class);
        failures.forEach((kind, adder) -> sums.put(kind, adder.sum()));
        return Collections.unmodifiableMap(sums);
    }
}
