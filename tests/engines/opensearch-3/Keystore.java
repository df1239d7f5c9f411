import java.nio.file.Path;
import org.opensearch.common.settings.KeyStoreWrapper;

/** Writes a node's keystore: its folder, then secrets as NAME=VALUE. Not for 2.19, where only the release's own tool may. */
public final class Keystore {

    public static void main(String[] arguments) throws Exception {
        KeyStoreWrapper keystore = KeyStoreWrapper.create();
        for (int n = 1; n < arguments.length; n++) {
            String[] secret = arguments[n].split("=", 2);
            keystore.setString(secret[0], secret[1].toCharArray());
        }
        keystore.save(Path.of(arguments[0]), new char[0]);
    }
}
