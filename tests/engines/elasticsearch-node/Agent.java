import java.lang.instrument.Instrumentation;

/**
 * Calls what makes entitlements hold, as the release's agent does, which is not on Maven Central: it is given a class to
 * call `initialize` of.
 */
public final class Agent {

    public static void agentmain(String initialization, Instrumentation instrumentation) throws Exception {
        Class.forName(initialization).getMethod("initialize", Instrumentation.class).invoke(null, instrumentation);
    }
}
