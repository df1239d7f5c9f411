"""Every Maven artifact that is shipped has the product's version, in its own pom and where another names it."""

import re
import unittest
import xml.etree.ElementTree as xml

from support import ROOT

MAVEN = "{http://maven.apache.org/POM/4.0.0}"


class Versions(unittest.TestCase):
    """Poms below plugin-config against Cargo.toml."""

    def test_poms_have_the_products_version(self):
        product = re.search(r'^version = "([^"]+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)
        poms = [path for path in sorted((ROOT / "plugin-config").rglob("pom.xml")) if "target" not in path.relative_to(ROOT).parts]
        self.assertGreaterEqual(len(poms), 7, poms)
        for path in poms:
            with self.subTest(pom=str(path.relative_to(ROOT))):
                project = xml.parse(path).getroot()
                self.assertEqual(project.findtext(f"{MAVEN}groupId"), "dev.rescored")
                self.assertEqual(project.findtext(f"{MAVEN}version"), product)
                for dependency in project.iter(f"{MAVEN}dependency"):
                    if dependency.findtext(f"{MAVEN}groupId") == "dev.rescored":
                        self.assertEqual(dependency.findtext(f"{MAVEN}version"), "${project.version}")

    def test_pages_name_archives_of_the_products_version(self):
        product = re.search(r'^version = "([^"]+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)
        named = []
        for page in sorted((ROOT / "plugin-config").rglob("*.md")):
            named += re.findall(r"rescored-(?:opensearch|elasticsearch|vespa|solr)(?:-[0-9.]+)?-([0-9]+\.[0-9]+\.[0-9]+)(?:-deploy)?\.(?:zip|jar)", page.read_text())
        self.assertGreaterEqual(len(named), 3, named)
        self.assertEqual(set(named), {product})


if __name__ == "__main__":
    unittest.main(verbosity=2)
