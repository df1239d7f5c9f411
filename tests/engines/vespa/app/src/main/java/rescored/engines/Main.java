package rescored.engines;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.yahoo.application.Application;
import com.yahoo.application.Networking;
import com.yahoo.application.container.handler.Request;
import com.yahoo.application.container.handler.Response;
import com.yahoo.component.Vtag;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Map;

/**
 * Runs the application package of its one argument in a Vespa container.
 *
 * Requests come on standard input, a URI a line; answers go to standard output, a JSON object a line. The container's
 * own HTTP server would listen on every interface, so it stays closed; handlers and renderers are the real ones.
 */
public final class Main {

    private Main() {
    }

    public static void main(String[] arguments) throws IOException {
        // Standard output carries answers only; what the container prints goes to the log.
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        System.setOut(System.err);
        ObjectMapper json = new ObjectMapper();
        try (Application application = Application.fromApplicationPackage(Path.of(arguments[0]), Networking.disable)) {
            out.println(json.writeValueAsString(Map.of("version", Vtag.currentVersion.toFullString())));
            BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
            for (String uri = in.readLine(); uri != null; uri = in.readLine()) {
                out.println(json.writeValueAsString(answer(application, uri)));
            }
        }
        // Threads of the container that are no daemons must not keep the process.
        System.exit(0);
    }

    private static Map<String, Object> answer(Application application, String uri) throws CharacterCodingException {
        long start = System.nanoTime();
        Response response = application.getJDisc("default").handleRequest(new Request(uri));
        String body = response.getBodyAsString();
        return Map.of("millis", (System.nanoTime() - start) / 1e6, "status", response.getStatus(), "body", body);
    }

}
