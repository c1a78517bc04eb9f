"""A proxy whose configuration file the test rewrites."""

import os

import grpc_client
from support import HOST, Proxy, RawClient, free_port
from support.processes import to_yaml


class Reloadable:
    """`pools` is what the next write() writes; `settings` are keys of the `global` section, None
    for one that is not to be there."""

    def __init__(self, pools, args=(), **settings):
        self.pools = {name: {"listen": "%s:%d" % (HOST, free_port()), **keys}
                      for name, keys in pools.items()}
        settings = {"workers": 2, "grpc": "unix:{dir}/grpc.sock", "state_dir": "{dir}/state",
                    **settings}
        self.proxy = Proxy(self.pools, args=args,
                           settings={k: v for k, v in settings.items() if v is not None})
        self.address = "unix:%s/grpc.sock" % self.proxy.dir
        self.client = grpc_client.Client(self.address)
        with open(self.proxy.conf_path, encoding="utf-8") as f:
            self.settings_text = f.read().split("\n" + next(iter(pools)) + ":")[0]

    def __enter__(self):
        self.proxy.__enter__()
        return self

    def __exit__(self, *exc):
        self.client.close()
        self.proxy.__exit__(*exc)

    def text(self):
        return self.settings_text + "\n" + to_yaml(self.pools)

    def write(self, text=None):
        path = self.proxy.conf_path + ".new"
        with open(path, "w", encoding="utf-8") as f:
            f.write(self.text() if text is None else text)
        os.rename(path, self.proxy.conf_path)

    def reload(self):
        return self.client.admin("Reload")

    def port(self, pool):
        return int(self.pools[pool]["listen"].split(":")[-1])

    def connect(self, pool):
        return RawClient(self.port(pool))
