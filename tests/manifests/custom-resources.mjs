// Reads resources as a JSON list from standard input, and holds each against the schema of its kind.
import { readFileSync } from "node:fs";
import { ScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject";
import { PrometheusRule } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule";
import { ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor";

const kinds = { ScaledObject, PrometheusRule, ServiceMonitor };
let faults = 0;
for (const resource of JSON.parse(readFileSync(0, "utf8"))) {
  const Kind = kinds[resource.kind];
  if (!Kind) {
    console.error(`${resource.kind}: no schema is known for it`);
    faults += 1;
    continue;
  }
  try {
    if (resource.apiVersion !== Kind.apiVersion) throw new Error(`apiVersion is to be ${Kind.apiVersion}`);
    new Kind(resource).validate();
  } catch (error) {
    console.error(`${resource.kind}: ${error.message}`);
    faults += 1;
  }
}
process.exit(faults ? 1 : 0);
