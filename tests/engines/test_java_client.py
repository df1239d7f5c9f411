"""The Java client's own tests, and those of plugins that need no node, by Maven: against the real sidecar, whose program they insist on."""

import os
import unittest

import support


class JavaClient(unittest.TestCase):
    """`mvn verify` in plugin-config/java, as its README says."""

    def test_its_own_tests(self):
        printed = support.maven(
            support.ROOT / "plugin-config" / "java", "verify", f"-Drescored.bin={support.binary()}",
            f"-Drescored.models={os.environ.get('RESCORED_MODEL_DIR', support.ROOT / 'models')}", java_home=support.jdk(17, 99))
        runs = [line.split("Tests run: ")[1] for line in printed.splitlines() if "Tests run: " in line and "Time elapsed" not in line]
        # One sum a module that has tests (client, common, OpenSearch); a module without a sum ran nothing.
        self.assertEqual(len(runs), 3, printed[-2000:])
        for run in runs:
            self.assertNotEqual(run.split(",")[0], "0", runs)
            self.assertTrue(run.endswith("Failures: 0, Errors: 0, Skipped: 0"), runs)
        support.report("Java client, common parts, plugin without a node: tests run " + ", ".join(run.split(",")[0] for run in runs))


if __name__ == "__main__":
    unittest.main(verbosity=2)
