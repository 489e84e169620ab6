"""Functions and classes that a pickle could call to do harm: module, name, and arguments that would do it."""

MARKER = "ATTACK_RAN"
_TOUCH = f"touch {MARKER}"
_WRITE = f"open('{MARKER}', 'w')"
_COMMAND = (("touch", MARKER),)

# Programs and code.
_CODE = {
    "os": {"system": (_TOUCH,), "popen": (_TOUCH,), "execv": ("/bin/true", ["true"]), "execvp": ("true", ["true"])}
    | {"execl": ("/bin/true", "true"), "spawnv": (0, "/bin/true", ["true"]), "spawnlp": (0, "true", "true")}
    | {"posix_spawn": ("/bin/true", ["true"], {}), "fork": (), "abort": (), "_exit": (0,), "kill": (1, 0)},
    "posix": {"system": (_TOUCH,), "execv": ("/bin/true", ["true"]), "fork": (), "open": (MARKER, 66)},
    "nt": {"system": (_TOUCH,)},
    "subprocess": {"Popen": _COMMAND, "run": _COMMAND, "call": _COMMAND, "check_call": _COMMAND}
    | {"check_output": _COMMAND, "getoutput": (_TOUCH,), "getstatusoutput": (_TOUCH,)},
    "builtins": {"eval": (_WRITE,), "exec": (_WRITE,), "compile": (_WRITE, "x", "exec"), "__import__": ("os",)}
    | {"open": (MARKER, "w"), "getattr": ("x", "upper"), "setattr": ("x", "y", 1), "globals": (), "vars": ()}
    | {"input": (), "breakpoint": (), "exit": (), "map": ("x", ["y"]), "type": ("x", (), {}), "bytearray": (1 << 40,)}
    | {"range": (1 << 60,), "memoryview": (b"x",), "object": (), "help": ()},
    "__builtin__": {"eval": (_WRITE,), "exec": (_WRITE,), "open": (MARKER, "w"), "apply": ("x", ()), "file": (MARKER,)},
    "pty": {"spawn": ("true",)},
    "commands": {"getoutput": (_TOUCH,)},
    "platform": {"popen": (_TOUCH,)},
    "timeit": {"timeit": ("x", _WRITE), "main": (["-n1", _WRITE],)},
    "code": {"interact": (), "InteractiveInterpreter": ()},
    "codeop": {"compile_command": (_WRITE,)},
    "runpy": {"run_path": (MARKER,), "run_module": ("this",), "_run_code": (_WRITE, {})},
    "importlib": {"import_module": ("this",), "reload": ("this",)},
    "pdb": {"run": (_WRITE,)},
    "cProfile": {"run": (_WRITE,)},
    "profile": {"run": (_WRITE,)},
    "trace": {"Trace": ()},
    "types": {"CodeType": (0,), "FunctionType": (0, {})},
    "functools": {"partial": ("x", 1), "reduce": ("x", [1])},
    "operator": {"attrgetter": ("system",), "methodcaller": ("system", _TOUCH), "call": ("x",)},
    "multiprocessing.process": {"BaseProcess": ()},
    "threading": {"Thread": ()},
    "signal": {"raise_signal": (9,), "alarm": (1,)},
    "sys": {"exit": (1,), "setrecursionlimit": (10,)},
    "ctypes": {"CDLL": ("libc.so.6",), "cast": (0, "x")},
    "_ctypes": {"dlopen": ("libc.so.6", 2)},
    "gc": {"get_objects": ()},
}
# Files, and other unpicklers.
_FILES = {
    "io": {"open": (MARKER, "w"), "FileIO": (MARKER, "w"), "BytesIO": (b"x",)},
    "_io": {"open": (MARKER, "w"), "FileIO": (MARKER, "w"), "open_code": (MARKER,)},
    "_pyio": {"open": (MARKER, "w")},
    "codecs": {"open": (MARKER, "w"), "decode": (b"x", "zlib")},
    "pathlib": {"Path.touch": (MARKER,), "PosixPath": (MARKER,), "Path.unlink": (MARKER,)},
    "shutil": {"rmtree": ("cwd",), "copyfile": ("notes.txt", MARKER), "move": ("notes.txt", MARKER)},
    "os.path": {"exists": (MARKER,)},
    "tempfile": {"NamedTemporaryFile": (), "mkdtemp": ()},
    "zipfile": {"ZipFile": (MARKER, "w")},
    "tarfile": {"open": (MARKER, "w")},
    "sqlite3": {"connect": (MARKER,)},
    "dbm": {"open": (MARKER, "c")},
    "shelve": {"open": (MARKER,)},
    "logging": {"FileHandler": (MARKER,)},
    "logging.config": {"listen": (), "fileConfig": (MARKER,)},
    "pickle": {"loads": (b"N.",), "load": ("x",), "Unpickler": ("x",)},
    "_pickle": {"loads": (b"N.",)},
    "marshal": {"loads": (b"N",)},
    "copyreg": {"_reconstructor": ("x", "y", None), "add_extension": ("os", "system", 1)},
    "yaml": {"unsafe_load": ("!!python/object/apply:os.system [true]",), "load": ("x",)},
    "numpy": {"load": (MARKER,), "fromfile": (MARKER,), "memmap": (MARKER, "u1", "w+", 0, (4,)), "save": (MARKER, 0)}
    | {"savetxt": (MARKER, 0), "zeros": (1 << 40,), "ones": (1 << 40,), "f2py": ()},
    "numpy.testing._private.utils": {"runstring": (_WRITE, {})},
    "numpy.core.multiarray": {"fromfile": (MARKER,), "arange": (1 << 40,), "frombuffer": (b"x",), "zeros": (1 << 40,)},
    "numpy._core.multiarray": {"empty": (1 << 40,), "fromstring": ("x",)},
    "torch": {"load": (MARKER,), "from_file": (MARKER, True, 4), "save": (0, MARKER), "zeros": (1 << 40,)}
    | {"hub.load": ("x", "y"), "compile": ("x",)},
    "torch.hub": {"load": ("x", "y"), "load_state_dict_from_url": ("http://127.0.0.1:9/x",)},
    "torch.storage": {"_load_from_bytes": (b"N.",), "UntypedStorage.from_file": (MARKER, True, 4)},
    "torch.utils.data": {"DataLoader": ([],)},
    "torch.jit": {"load": (MARKER,)},
    "torch.serialization": {"load": (MARKER,), "add_safe_globals": ([],)},
    "torch.distributed.rpc": {"init_rpc": ("x",)},
    "torch._inductor.codecache": {"compile_file": ("x", "y", "z")},
    "torch._utils": {"_rebuild_device_tensor_from_numpy": (0, 1, 2, 3), "_rebuild_sparse_tensor": (0, ())},
}
# Connections.
_NETWORK = {
    "socket": {"socket": (), "create_connection": (("127.0.0.1", 9),)},
    "urllib.request": {"urlopen": ("http://127.0.0.1:9/",), "urlretrieve": ("http://127.0.0.1:9/", MARKER)},
    "http.client": {"HTTPSConnection": ("127.0.0.1",)},
    "ftplib": {"FTP": ("127.0.0.1",)},
    "smtplib": {"SMTP": ("127.0.0.1",)},
    "webbrowser": {"open": ("http://127.0.0.1:9/",)},
    "requests": {"get": ("http://127.0.0.1:9/",)},
    "pip._internal": {"main": (["list"],)},
    "setuptools": {"setup": ()},
    "tinypose_torch.cli": {"main": (["models"],)},
    "tinypose_torch": {"create_model": ("tinypose_128x96",), "load_weights": ("x", "y")},
    "paddle": {"load": (MARKER,)},
}
DANGEROUS = [
    (module, name, arguments)
    for table in (_CODE, _FILES, _NETWORK)
    for module, names in table.items()
    for name, arguments in names.items()
]
