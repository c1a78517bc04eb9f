#!/usr/bin/python3
"""Records what Grafana's published types say of a dashboard and of the panels that ours uses.

Writes grafana_schema.json: JSON schemas made from the TypeScript types of the npm package
@grafana/schema, without descriptions, unknown fields forbidden. Needs npm and its registry; the
tests need only what is written. For another Grafana change GRAFANA and run it again.
"""

import json
import os
import subprocess
import tempfile

GRAFANA = "11.6.0"
TOOLS = ["ts-json-schema-generator@2.3.0", "typescript@5.6.3"]
TYPES = "@grafana/schema/dist/esm/raw"
PANELS = {  # Grafana's name of the panel -> where its types are, and which it has
    "timeseries": ("timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen", ["Options", "FieldConfig"]),
    "stat": ("stat/panelcfg/x/StatPanelCfg_types.gen", ["Options"]),
    "heatmap": ("heatmap/panelcfg/x/HeatmapPanelCfg_types.gen", ["Options", "FieldConfig"]),
    "state-timeline": (
        "statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen", ["Options", "FieldConfig"]),
}
HERE = os.path.dirname(os.path.abspath(__file__))


def bare(schema):
    """Without words and defaults; a property may be called `description`, too."""
    if isinstance(schema, dict):
        return {k: bare(v) for k, v in schema.items()
                if k not in ("$schema", "default")
                and not (k == "description" and isinstance(v, str))}
    return [bare(v) for v in schema] if isinstance(schema, list) else schema


def schema_of(folder, file, name):
    """One type at a time: the generator refuses two of the same name."""
    with open(os.path.join(folder, "root.ts"), "w", encoding="utf-8") as f:
        f.write("import type { %s as Type } from '%s/%s';\n" % (name, TYPES, file))
        f.write("export interface Root { it: Type }\n")
    made = subprocess.run(
        ["npx", "ts-json-schema-generator", "-p", "root.ts", "-t", "Root", "-f", "tsconfig.json",
         "--no-top-ref"], cwd=folder, check=True, stdout=subprocess.PIPE)
    schema = json.loads(made.stdout)
    return bare({**schema["properties"]["it"], "definitions": schema.get("definitions", {})})


def main():
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "tsconfig.json"), "w", encoding="utf-8") as f:
            json.dump({"compilerOptions": {"moduleResolution": "node", "module": "esnext",
                                           "strict": True, "skipLibCheck": True},
                       "files": ["root.ts"]}, f)
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", folder,
                        "@grafana/schema@" + GRAFANA, *TOOLS], check=True)
        schemas = {"dashboard": schema_of(folder, "dashboard/x/dashboard_types.gen", "Dashboard")}
        for panel, (file, names) in PANELS.items():
            schemas[panel] = {name: schema_of(folder, "composable/" + file, name) for name in names}
    with open(os.path.join(HERE, "grafana_schema.json"), "w", encoding="utf-8") as f:
        json.dump({"grafana": GRAFANA, **schemas}, f, indent=1, sort_keys=True)
        f.write("\n")


if __name__ == "__main__":
    main()
