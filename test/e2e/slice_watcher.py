"""Prints "TIME SERVICE" for each EndpointSlice event of a namespace, the moment it comes.

usage: slice_watcher.py NAMESPACE, with KUBECONFIG"""

import os
import sys
import time

from api import SLICES, Api


def main():
    seen = set()  # a list after a pause tells again what was told
    for kind, thing in Api(os.environ["KUBECONFIG"]).follow(SLICES % sys.argv[1]):
        now = time.time()
        for piece in thing if kind == "SYNC" else [thing]:
            meta = piece["metadata"]
            if (meta["name"], meta["resourceVersion"]) in seen:
                continue
            seen.add((meta["name"], meta["resourceVersion"]))
            service = meta.get("labels", {}).get("kubernetes.io/service-name", "-")
            print("%.6f %s" % (now, service), flush=True)


if __name__ == "__main__":
    main()
