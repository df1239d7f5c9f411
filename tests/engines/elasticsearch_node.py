"""A real Elasticsearch node of either line, from what Maven Central has, with the plugin's zip unpacked into it.

It runs from a folder laid out like the release's, by its own `main` and module path, under its entitlements. Central has
neither the tool that installs plugins nor the entitlements' agent: a node loads what lies unpacked in its folder, and
`elasticsearch-node/Agent.java` stands in for the agent.
"""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import typing
import zipfile

import support
from support import ROOT, SCRATCH, Process, free_port, maven

HERE = pathlib.Path(__file__).resolve().parent / "elasticsearch-node"
PLUGIN = ROOT / "plugin-config" / "elasticsearch" / "plugin"

LOG4J = """status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%-25c{1.}] %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
"""


class Line(typing.NamedTuple):
    """A line of releases: its profile in the plugin's pom, what runs it."""

    folder: str
    profile: str
    lowest: int
    highest: int

    def java_home(self):
        return support.jdk(self.lowest, self.highest)

    def version(self):
        versions = re.findall(r"<elasticsearch.version>([0-9.]+)<", (PLUGIN / "pom.xml").read_text())
        return versions[1 if self.profile else 0]


# The native library that 8.19 uses on JDK 21 and later cannot be kept from seeing that a container's user is root.
EIGHT = Line("elasticsearch-8", "", 17, 20)
NINE = Line("elasticsearch-9", "elasticsearch-9", 24, 99)


def build(line):
    """The zip, built for the line by the JDK that runs it."""
    options = [f"-P{line.profile}"] if line.profile else []
    maven(ROOT / "plugin-config" / "java", "-q", "package", "-DskipTests", "-pl", "client,common,../elasticsearch/plugin", *options,
          java_home=line.java_home())
    short = ".".join(line.version().split(".")[:2])
    zips = list((PLUGIN / "target" / short).glob("*.zip"))
    if len(zips) != 1:
        raise RuntimeError(f"not one zip for {short}: {zips}")
    return zips[0]


class Node(Process):
    """One Elasticsearch node without security."""

    def __init__(self, line, name, plugin, settings="", secrets=None, files=None):
        self.java_home = line.java_home()
        self.distribution = assemble(line, self.java_home)
        self.home = SCRATCH / f"{name}-home"
        self.lay_out(plugin)
        self.address = f"http://127.0.0.1:{free_port()}"
        (self.home / "config" / "log4j2.properties").write_text(LOG4J)
        (self.home / "config" / "elasticsearch.yml").write_text(
            f"cluster.name: rescored-test\nnode.name: {name}\nnetwork.host: 127.0.0.1\ndiscovery.type: single-node\n"
            f"http.port: {self.address.rsplit(':', 1)[1]}\ntransport.port: {free_port()}\n"
            # A test of searches is no test of the disk.
            "cluster.routing.allocation.disk.threshold_enabled: false\n" + settings)
        for file, content in (files or {}).items():
            (self.home / "config" / file).write_bytes(content)
        arguments = subprocess.run(
            [self.java, "-Xmx256m", "-cp", f"{self.distribution / 'lib'}/*", HERE / "ServerArguments.java", self.home,
             *(f"{key}={secret}" for key, secret in (secrets or {}).items())],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False)
        if arguments.returncode != 0:
            raise RuntimeError(f"the node's arguments:\n{arguments.stderr.decode(errors='replace')}")
        super().__init__(self.command(line), SCRATCH / "logs" / f"{name}.log", cwd=self.home,
                         env={**os.environ, "LIBFFI_TMPDIR": str(self.home / "tmp")}, piped=True)
        # A node ends with its input.
        self.child.stdin.write(arguments.stdout)
        self.child.stdin.flush()
        try:
            self.wait_until(lambda: support.get(self.address + "/_cluster/health").status == 200, 180, "Elasticsearch")
        except RuntimeError:
            self.stop()
            raise

    @property
    def java(self):
        return pathlib.Path(self.java_home) / "bin" / "java"

    def lay_out(self, plugin):
        shutil.rmtree(self.home, ignore_errors=True)
        for folder in ("config", "tmp", "data", "logs", "plugins/rescored"):
            (self.home / folder).mkdir(parents=True)
        for folder in ("lib", "modules"):
            (self.home / folder).symlink_to(self.distribution / folder)
        with zipfile.ZipFile(plugin) as archive:
            archive.extractall(self.home / "plugins" / "rescored")

    def command(self, line):
        bridge, = (self.distribution / "lib" / "entitlement-bridge").glob("*.jar")
        # Without native access the node does not ask for a user other than root, which containers of CI lack.
        natives = ["--illegal-native-access=deny"] if line is NINE else ["-Djna.nosys=true", "-Djna.nounpack=true"]
        return [
            self.java, "-Xms256m", "-Xmx1g", "-XX:+UseSerialGC",
            "-Dfile.encoding=UTF-8", *natives,
            f"-Djava.io.tmpdir={self.home / 'tmp'}", f"-Des.path.home={self.home}", f"-Des.path.conf={self.home / 'config'}",
            "-Des.distribution.type=tar", "-Des.entitlements.enabled=true", "-Dlog4j.shutdownHookEnabled=false", "-Dlog4j2.disable.jmx=true",
            "-Dio.netty.noUnsafe=true", "-Dio.netty.noKeySetOptimization=true", "-Dio.netty.allocator.numDirectArenas=0",
            "-XX:+EnableDynamicAgentLoading", "-Djdk.attach.allowAttachSelf=true", f"--patch-module=java.base={bridge}",
            "--add-exports=java.base/org.elasticsearch.entitlement.bridge=org.elasticsearch.entitlement,java.logging,java.net.http,java.naming,jdk.net",
            "--module-path", self.home / "lib", "--add-modules=jdk.net", "--add-modules=jdk.management.agent", "--add-modules=ALL-MODULE-PATH",
            "-m", "org.elasticsearch.server/org.elasticsearch.bootstrap.Elasticsearch"]

    def stop(self, grace=20):
        with contextlib.suppress(OSError):
            self.child.stdin.close()
        super().stop(grace)
        shutil.rmtree(self.home, ignore_errors=True)


def assemble(line, java_home):
    """The node's folder: jars by Maven, the descriptors that they hold, stand-ins for two classes."""
    distribution = SCRATCH / line.folder
    stamp = distribution / "complete"
    made_of = "".join(path.read_text() for path in sorted(HERE.iterdir()) if path.is_file()) + line.version()
    if stamp.exists() and stamp.read_text() == made_of:
        return distribution
    shutil.rmtree(distribution, ignore_errors=True)
    module = distribution / "modules" / "transport-netty4"
    for group, artifact, folder in (
            ("org.elasticsearch", "elasticsearch", distribution / "lib"),
            ("org.elasticsearch", "elasticsearch-entitlement-bridge", distribution / "lib" / "entitlement-bridge"),
            ("org.elasticsearch.plugin", "transport-netty4", module)):
        maven(HERE, "-q", "package", f"-Dgroup={group}", f"-Dartifact={artifact}", f"-Delasticsearch.version={line.version()}",
              f"-Dto={folder}", java_home=java_home)
        shutil.rmtree(folder / "build", ignore_errors=True)
    for jar in module.glob("*.jar"):
        if (distribution / "lib" / jar.name).exists():
            jar.unlink()
    with zipfile.ZipFile(next(module.glob("transport-netty4-*.jar"))) as archive:
        for file in ("plugin-descriptor.properties", "entitlement-policy.yaml"):
            (module / file).write_bytes(archive.read(f"META-INF/es-plugins/transport-netty4/{file}"))
    stand_in("Agent.java", distribution / "lib" / "entitlement-agent" / "agent.jar", java_home,
             "Agent-Class: Agent\nCan-Retransform-Classes: true\nCan-Redefine-Classes: true\n")
    stand_in("AnsiConsoleLoader.java", distribution / "lib" / "tools" / "ansi-console" / "console.jar", java_home)
    stamp.write_text(made_of)
    return distribution


def stand_in(source, jar, java_home, manifest=""):
    """A jar of one class, in place of one that the release's archive has and Maven Central has not."""
    classes = SCRATCH / "elasticsearch-classes"
    shutil.rmtree(classes, ignore_errors=True)
    tools = pathlib.Path(java_home) / "bin"
    subprocess.run([tools / "javac", "-d", classes, HERE / source], check=True, timeout=120)
    (SCRATCH / "elasticsearch-manifest").write_text(manifest)
    jar.parent.mkdir(parents=True)
    subprocess.run([tools / "jar", "cfm", jar, SCRATCH / "elasticsearch-manifest", "-C", classes, "."], check=True, timeout=120)
    shutil.rmtree(classes)
