"""A real OpenSearch node of either line, from what Maven Central has (opensearch/pom.xml, opensearch-3/pom.xml).

It runs from a folder laid out like the release's, by its own `main`, with a class loader a plugin; 2.19 with its own
security manager, 3.x with its own agent. Plugins of ours are installed by the release's own tool.
"""

import os
import pathlib
import shutil
import subprocess
import typing

import support
from support import SCRATCH, Process, free_port, maven

HERE = pathlib.Path(__file__).resolve().parent

LOG4J = """status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%-25c{1.}] %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
"""


class Line(typing.NamedTuple):
    """A line of releases: where it is described, what runs it."""

    folder: str
    lowest: int
    highest: int
    plugin_tool: str

    def java_home(self):
        return support.jdk(self.lowest, self.highest)

    def version(self):
        return (HERE / self.folder / "pom.xml").read_text().split("<opensearch.version>")[1].split("<")[0]

    def java_options(self, distribution):
        if self is TWO:
            # JDK 18 and later want to be asked before a security manager is set.
            return ["-Djava.security.manager=allow", "-Djava.locale.providers=SPI,COMPAT"]
        return [f"-javaagent:{next((distribution / 'agent').glob('opensearch-agent-[0-9]*.jar'))}",
                "-Djava.locale.providers=SPI,CLDR", "--enable-native-access=ALL-UNNAMED"]


# The bootstrap of 2.19 needs a security manager, which JDK 24 took away.
TWO = Line("opensearch", 17, 23, "org.opensearch.plugins.PluginCli")
THREE = Line("opensearch-3", 21, 99, "org.opensearch.tools.cli.plugin.PluginCli")


class Node(Process):
    """One OpenSearch node without the security plugin."""

    def __init__(self, line, name="opensearch", plugin=None, settings="", secrets=None, heap="1g"):
        self.java_home = line.java_home()
        self.distribution = assemble(line, self.java_home)
        self.home = SCRATCH / f"{name}-home"
        self.lay_out()
        self.address = f"http://127.0.0.1:{free_port()}"
        self.transport = free_port()
        (self.home / "config" / "log4j2.properties").write_text(LOG4J)
        (self.home / "config" / "opensearch.yml").write_text(
            f"cluster.name: rescored-test\nnode.name: {name}\nnetwork.host: 127.0.0.1\n"
            f"http.port: {self.address.rsplit(':', 1)[1]}\ntransport.port: {self.transport}\n"
            # A test of searches is no test of the disk.
            "cluster.routing.allocation.disk.threshold_enabled: false\n"
            + ("" if "discovery." in settings else "discovery.type: single-node\n") + settings)
        if plugin:
            self.installed = self.java(line.plugin_tool, "install", "--batch", plugin.as_uri())
        # After the tool has run: ml-commons has classes in common with what the tool checks signatures with, which it refuses.
        shutil.copytree(self.distribution / "plugins", self.home / "plugins", copy_function=os.link, dirs_exist_ok=True)
        if secrets:
            self.java(HERE / "opensearch-3" / "Keystore.java", self.home / "config", *(f"{key}={secret}" for key, secret in secrets.items()))
        super().__init__(self.command(line, heap), SCRATCH / "logs" / f"{name}.log")
        try:
            self.wait_until(lambda: support.get(self.address + "/_cluster/health").status == 200, 420, "OpenSearch")
        except RuntimeError:
            self.stop()
            raise

    def lay_out(self):
        shutil.rmtree(self.home, ignore_errors=True)
        for folder in ("config", "tmp"):
            (self.home / folder).mkdir(parents=True)
        for folder in ("lib", "modules"):
            (self.home / folder).symlink_to(self.distribution / folder)
        (self.home / "plugins").mkdir()

    def java(self, *arguments):
        """Runs a tool of the release."""
        done = subprocess.run(
            [pathlib.Path(self.java_home) / "bin" / "java", "-Xmx256m", f"-Dopensearch.path.home={self.home}",
             f"-Dopensearch.path.conf={self.home / 'config'}", "-Dopensearch.distribution.type=tar",
             "-cp", f"{self.home / 'lib'}/*:{self.distribution / 'tools'}/*", *map(str, arguments)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{arguments[0]} failed:\n{done.stdout}")
        return done.stdout

    def command(self, line, heap):
        return [
            pathlib.Path(self.java_home) / "bin" / "java", "-Xms256m", f"-Xmx{heap}", "-XX:+UseSerialGC", "-Dfile.encoding=UTF-8",
            *line.java_options(self.distribution),
            # Without native access the node does not ask for a user other than root, which containers of CI lack.
            "-Djna.nosys=true", "-Djna.nounpack=true",
            f"-Djava.io.tmpdir={self.home / 'tmp'}", f"-Dopensearch.path.home={self.home}",
            f"-Dopensearch.path.conf={self.home / 'config'}", "-Dlog4j.shutdownHookEnabled=false",
            "-Dlog4j2.disable.jmx=true", "-Dio.netty.noUnsafe=true", "-Dio.netty.noKeySetOptimization=true",
            "-Dio.netty.allocator.numDirectArenas=0", "-cp", f"{self.home / 'lib'}/*", "org.opensearch.bootstrap.OpenSearch"]

    def threads_and_descriptors(self):
        """How many the node's process has now (Linux)."""
        process = pathlib.Path("/proc") / str(self.child.pid)
        return len(list((process / "task").iterdir())), len(list((process / "fd").iterdir()))

    def stop(self, grace=20):
        super().stop(grace)
        shutil.rmtree(self.home, ignore_errors=True)


def assemble(line, java_home):
    """The node's folder: jars by Maven, and the descriptors that only the release's archive holds."""
    distribution = SCRATCH / line.folder
    stamp = distribution / "complete"
    pom = (HERE / line.folder / "pom.xml").read_text()
    if stamp.exists() and stamp.read_text() == pom:
        return distribution
    shutil.rmtree(distribution, ignore_errors=True)
    maven(HERE / line.folder, "-q", "package", f"-Dnode={distribution}", java_home=java_home)
    (distribution / "plugins").mkdir(exist_ok=True)
    for folder in (distribution / "modules").iterdir():
        for file in (HERE / line.folder / "modules" / folder.name).iterdir():
            (folder / file.name).write_text(file.read_text().replace("${opensearch.version}", line.version()))
    stamp.write_text(pom)
    return distribution
