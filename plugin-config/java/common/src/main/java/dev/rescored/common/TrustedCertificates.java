package dev.rescored.common;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** Certificates of a file, to trust instead of the JDK's. */
public final class TrustedCertificates {

    private TrustedCertificates() {}

    /**
     * A context that trusts what the file (PEM) holds, and nothing else.
     *
     * @param setting that names the file, for the message
     * @throws IllegalArgumentException when the file cannot be read or holds no certificate
     */
    public static SSLContext context(String setting, Path file) {
        try (InputStream in = Files.newInputStream(file)) {
            KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
            trusted.load(null, null);
            int count = 0;
            for (Certificate certificate : CertificateFactory.getInstance("X.509").generateCertificates(in)) {
                trusted.setCertificateEntry("authority-" + count++, certificate);
            }
            if (count == 0) {
                throw new GeneralSecurityException("it holds no certificate in PEM");
            }
            TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            factory.init(trusted);
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(null, factory.getTrustManagers(), null);
            return context;
        } catch (IOException | GeneralSecurityException fault) {
            throw new IllegalArgumentException("[" + setting + "]: [" + file + "] cannot be used: " + fault.getMessage(), fault);
        }
    }
}
