"""The installer for OpenSearch against answers that a real cluster gives only now and then."""

import importlib.util
import json
import threading
import types
import unittest
import unittest.mock
from http.server import BaseHTTPRequestHandler, HTTPServer

from support import ROOT

KEY_IS_MISSING = (500, {"error": {"reason": "Fetching master key timed out."}})


class Installer(unittest.TestCase):
    """What it does with an answer that passes, and with one that does not."""

    def setUp(self):
        spec = importlib.util.spec_from_file_location("install", ROOT / "plugin-config" / "opensearch" / "install.py")
        self.install = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.install)
        self.pauses = self.enterContext(unittest.mock.patch.object(self.install.time, "sleep"))

    def ask(self, answers):
        """One call of a cluster that gives these answers, one after the other; how many it gave."""
        given = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802
                status, body = answers[min(len(given), len(answers) - 1)]
                given.append(status)
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            options = types.SimpleNamespace(opensearch=f"http://127.0.0.1:{server.server_port}", user=None, cafile=None)
            return self.install.Cluster(options).call("GET", "/"), len(given)
        except self.install.Refused as refused:
            return refused, len(given)
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def test_a_cluster_that_still_makes_its_key_is_waited_for(self):
        answer, calls = self.ask([KEY_IS_MISSING, KEY_IS_MISSING, (200, {"made": 1})])
        self.assertEqual((answer, calls, self.pauses.call_count), ({"made": 1}, 3, 2))

    def test_a_key_that_never_comes_ends_the_installation(self):
        answer, calls = self.ask([KEY_IS_MISSING])
        self.assertIsInstance(answer, self.install.Refused)
        self.assertEqual(calls, 6)

    def test_any_other_refusal_is_final(self):
        for status, body in [(500, {"error": "no"}), (400, KEY_IS_MISSING[1]), (403, {})]:
            answer, calls = self.ask([(status, body)])
            self.assertIsInstance(answer, self.install.Refused)
            self.assertEqual(calls, 1, status)
