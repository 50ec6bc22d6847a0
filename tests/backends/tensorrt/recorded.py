"""TensorRT 10's Python calls as far as they matter here, written down from the bindings of 10.13, with their arguments.

It cannot be installed where these tests run.
"""

TENSORRT_10: dict[str, dict[str, tuple[str, ...]]] = {
    "Builder": {
        "create_network": ("flags",),
        "create_builder_config": (),
        "create_optimization_profile": (),
        "build_serialized_network": ("network", "config"),
    },
    "BuilderConfig": {
        "progress_monitor": (),
        "set_memory_pool_limit": ("pool", "pool_size"),
        "clear_flag": ("flag",),
        "add_optimization_profile": ("profile",),
        "create_timing_cache": ("serialized_timing_cache",),
        "set_timing_cache": ("cache", "ignore_mismatch"),
        "get_timing_cache": (),
    },
    "TimingCache": {"serialize": ()},
    "Network": {"num_inputs": (), "get_input": ("index",)},
    "Tensor": {"name": (), "shape": ()},
    "Parser": {"parse": ("model",), "num_errors": (), "get_error": ("index",)},
    "ParserError": {"desc": ()},
    "OptimizationProfile": {"set_shape": ("input", "min", "opt", "max")},
    "Runtime": {"deserialize_cuda_engine": ("serialized_engine",)},
    "Engine": {
        "num_io_tensors": (),
        "get_tensor_name": ("index",),
        "get_tensor_dtype": ("name",),
        "get_tensor_profile_shape": ("name", "profile_index"),
        "create_execution_context": (),
    },
    "Context": {
        "set_input_shape": ("name", "shape"),
        "get_tensor_shape": ("name",),
        "set_tensor_address": ("name", "memory"),
        "execute_async_v3": ("stream_handle",),
    },
}

# What the package itself offers.
NAMES_10 = {
    "Builder", "BuilderFlag", "DataType", "ILogger", "IProgressMonitor", "MemoryPoolType",
    "NetworkDefinitionCreationFlag", "OnnxParser", "Runtime",
}  # fmt: skip

# What each of ours is called by TensorRT.
CLASSES = {
    "Builder": "Builder",
    "BuilderConfig": "IBuilderConfig",
    "TimingCache": "ITimingCache",
    "Network": "INetworkDefinition",
    "Tensor": "ITensor",
    "Parser": "OnnxParser",
    "ParserError": "ParserError",
    "OptimizationProfile": "IOptimizationProfile",
    "Runtime": "Runtime",
    "Engine": "ICudaEngine",
    "Context": "IExecutionContext",
}
