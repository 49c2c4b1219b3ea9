"""The one table of what a model file may name: classes, functions and options that only compute.

Each is listed by its own name: a module holds more than what makes up models. What reads or writes
files, runs code from the file, prints, draws at random outside a layer, or makes tensors from
nothing is left out.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


LAYERS = _words("""
    AbstractRNNCell Activation ActivityRegularization AdaptiveAveragePooling1D
    AdaptiveAveragePooling2D AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D
    AdaptiveMaxPooling3D Add AdditiveAttention AlphaDropout Attention AugMix AutoContrast Average
    AveragePooling1D AveragePooling2D AveragePooling3D BatchNormalization Bidirectional
    CategoryEncoding CenterCrop Concatenate Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D
    Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Cropping1D Cropping2D Cropping3D CutMix Dense
    DepthwiseConv1D DepthwiseConv2D Discretization Dot Dropout ELU EinsumDense Embedding
    Equalization Flatten GRU GRUCell GaussianDropout GaussianNoise GlobalAveragePooling1D
    GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D
    GlobalMaxPooling3D GroupNormalization GroupQueryAttention HashedCrossing Hashing Identity
    InputLayer IntegerLookup LSTM LSTMCell Layer LayerNormalization LeakyReLU LocallyConnected1D
    LocallyConnected2D Masking MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum MixUp
    MultiHeadAttention Multiply Normalization PReLU Permute RMSNormalization RNN RandAugment
    RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop
    RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHeight
    RandomHue RandomInvert RandomPerspective RandomPosterization RandomRotation RandomSaturation
    RandomSharpness RandomShear RandomTranslation RandomWidth RandomZoom ReLU RepeatVector Rescaling
    Reshape Resizing ReversibleEmbedding SeparableConv1D SeparableConv2D SimpleRNN SimpleRNNCell
    Softmax Solarization SpatialDropout1D SpatialDropout2D SpatialDropout3D SpectralNormalization
    StackedRNNCells StringLookup Subtract TextVectorization ThresholdedReLU TimeDistributed
    UnitNormalization UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D
    ZeroPadding3D
""")
MODELS = _words("Functional Model Sequential")
TF_LAYERS = _words("TFOpLambda SlicingOpLambda")
"""Layers of Keras 2 that call a function of TensorFlow by its name: one of `TF_FUNCTIONS`."""
INITIALIZERS = _words("""
    Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity IdentityInitializer LecunNormal
    LecunUniform Ones Orthogonal OrthogonalInitializer RandomNormal RandomUniform TruncatedNormal
    VarianceScaling Zeros
""")
REGULARIZERS = _words("L1 L1L2 L2 OrthogonalRegularizer")
CONSTRAINTS = _words("MaxNorm MinMaxNorm NonNeg RadialConstraint UnitNorm")
POLICIES = _words("""
    DTypePolicy DTypePolicyMap FloatDTypePolicy Int4DTypePolicy Policy QuantizedDTypePolicy
    QuantizedFloat8DTypePolicy
""")
QUANTIZERS = _words("""
    AbsMaxQuantizer Float8QuantizationConfig Int4QuantizationConfig Int8QuantizationConfig
""")
ACTIVATIONS = _words("""
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu
    linear log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus
    softsign sparse_plus sparse_sigmoid sparsemax squareplus swish tanh tanh_shrink threshold
""")
LITERALS = _words("""
    TensorShape __bytes__ __ellipsis__ __keras_tensor__ __numpy__ __slice__ __tensor__ __tuple__
""")
"""Values that JSON lacks, written as if they were objects."""
DTYPES = _words("""
    bfloat16 bool complex128 complex64 float16 float32 float64 int16 int32 int64 int8 uint16 uint32
    uint64 uint8
""")
"""Types of the numbers in such a value: NumPy's types of texts and records say their own size."""

_OPS = {
    "numpy": """
        Abs Absolute Add All Amax Amin Angle Any Append Arccos Arccosh Arcsin Arcsinh Arctan Arctan2
        Arctanh Argmax Argmin Argsort Average BroadcastTo Cbrt Ceil Clip Concatenate Conj Conjugate
        Copy Cos Cosh CountNonzero Cross Cumprod Cumsum Deg2rad Diag Diagonal Diff Divide
        DivideNoNan Dot Dstack Einsum Equal Exp Exp2 ExpandDims Expm1 Fabs Flip Fliplr Flipud Floor
        FloorDivide Fmax Fmin Fmod FullLike GetItem Greater GreaterEqual Heaviside Hsplit Hstack
        Hypot Imag Inner Isclose Isfinite Isinf Isnan Less LessEqual Log Log10 Log1p Log2 Logaddexp
        LogicalAnd LogicalNot LogicalOr LogicalXor Matmul Max Maximum Mean Median Meshgrid Min
        Minimum Mod Moveaxis Multiply NanToNum Ndim Negative NotEqual OnesLike Outer Pad Power Prod
        Ptp Quantile Rad2deg Ravel Real Reciprocal Repeat Reshape Roll Rot90 Round Select Sign
        Signbit Sin Sinc Sinh Size Sort Split Sqrt Square Squeeze Stack Std Subtract Sum Swapaxes
        Take TakeAlongAxis Tan Tanh Tensordot Tile Trace Transpose Tril Triu TrueDivide Trunc Var
        Vdot Vsplit Vstack Where ZerosLike
    """,
    "nn": """
        AdaptiveAveragePool AdaptiveMaxPool AveragePool BatchNorm Celu Conv ConvTranspose
        DepthToSpace DepthwiseConv DotProductAttention Elu Gelu Glu HardShrink HardSigmoid HardSilu
        HardTanh LayerNorm LeakyRelu LogSigmoid LogSoftmax MaxPool Moments MultiHot Normalize OneHot
        RMSNorm Relu Relu6 Selu SeparableConv Sigmoid Silu SoftShrink Softmax Softplus Softsign
        SpaceToDepth SparsePlus SparseSigmoid Sparsemax Squareplus TanhShrink Threshold
    """,
    "core": "Cast SaturateCast Slice StopGradient Unstack",
    "math": "Erf Erfc Logsumexp Rsqrt TopK",
    "image": """
        CropImages ExtractPatches HSVToRGB PadImages RGBToGrayscale RGBToHSV Resize
    """,
    "linalg": "Norm",
}
"""Operations of Keras 3 that stand in a functional model without a layer."""


def _modules() -> dict[str, frozenset[str]]:
    table: dict[str, frozenset[str]] = {}
    for root in ("keras", "tf_keras"):
        table |= {
            root: MODELS | POLICIES | {"Layer"},
            f"{root}.models": MODELS,
            f"{root}.layers": LAYERS,
            f"{root}.initializers": INITIALIZERS,
            f"{root}.regularizers": REGULARIZERS,
            f"{root}.constraints": CONSTRAINTS,
            f"{root}.dtype_policies": POLICIES,
            f"{root}.mixed_precision": POLICIES,
            f"{root}.quantizers": QUANTIZERS,
        }
        for module in ("engine.functional", "models.functional", "models.sequential"):
            table[f"{root}.src.{module}"] = MODELS
        table[f"{root}.src.layers.core.tf_op_layer"] = TF_LAYERS
        table[f"{root}.src.applications.convnext"] = frozenset({"LayerScale"})
        table[f"{root}.src.applications.inception_resnet_v2"] = frozenset({"CustomScaleLayer"})
    for module, names in _OPS.items():
        table[f"keras.src.ops.{module}"] = _words(names)
    return table


CLASSES = _modules()
"""Names of classes by the module that a file gives for them."""
UNQUALIFIED = (
    LAYERS | MODELS | TF_LAYERS | INITIALIZERS | REGULARIZERS | CONSTRAINTS | POLICIES
    | {"LayerScale", "CustomScaleLayer"}
)  # fmt: skip
"""Names of classes where a file of an older format gives no module."""
FUNCTION_MODULES = _words("builtins keras.activations tf_keras.activations")
"""Where a function of `ACTIVATIONS` may be said to be."""

IDENTIFIERS = {
    "activation": ACTIVATIONS | _words("ELU LeakyReLU PReLU ReLU Softmax ThresholdedReLU"),
    "initializer": INITIALIZERS | _words("""
        constant glorot_normal glorot_uniform he_normal he_uniform identity lecun_normal
        lecun_uniform normal one ones orthogonal random_normal random_uniform truncated_normal
        uniform variance_scaling zero zeros
    """),
    "regularizer": REGULARIZERS | _words("l1 l1_l2 l2 orthogonal_regularizer"),
    "constraint": CONSTRAINTS | _words("max_norm min_max_norm non_neg radial_constraint unit_norm"),
}  # fmt: skip
"""Texts that Keras looks up as functions or classes, by how their option's name ends."""
TEXTS = _words("""
    bias_axes bounding_box_format color_mode data_format default_policy distribution dtype encoding
    equation fill_mode indexing input_layers interpolation mask_token mask_value merge_mode method
    mode name oov_method oov_token ord output_layers output_mode padding pool_mode qk_norm rng_type
    score_mode source_name split standardize subscripts transform_type use_cudnn vocabulary_dtype
""")
"""Options whose value may be a text: a mode, a name or a token, never a path."""
WIDTHS = _words("""
    depth_multiplier filters head_dim input_dim key_dim num_heads num_key_value_heads
    num_query_heads output_dim projection_dim units value_dim
""")
"""Options that a layer has at least as many weights as."""

TF_FUNCTIONS = _words("""
    __operators__.add __operators__.getitem argsort boolean_mask broadcast_to cast clip_by_norm
    clip_by_value compat.v1.argmax compat.v1.argmin compat.v1.boolean_mask compat.v1.expand_dims
    compat.v1.floor_div compat.v1.gather compat.v1.gather_nd compat.v1.image.resize_bilinear
    compat.v1.image.resize_nearest_neighbor compat.v1.math.scalar_mul compat.v1.nn.conv2d
    compat.v1.nn.convolution compat.v1.nn.crelu compat.v1.nn.depthwise_conv2d
    compat.v1.nn.embedding_lookup compat.v1.nn.max_pool compat.v1.nn.softmax compat.v1.norm
    compat.v1.pad compat.v1.reduce_max compat.v1.reduce_mean compat.v1.reduce_min
    compat.v1.reduce_sum compat.v1.shape compat.v1.size compat.v1.squeeze compat.v1.transpose
    compat.v1.where concat cumsum einsum ensure_shape expand_dims gather gather_nd identity
    image.adjust_brightness image.adjust_contrast image.adjust_gamma image.adjust_hue
    image.adjust_saturation image.central_crop image.crop_to_bounding_box image.extract_patches
    image.flip_left_right image.flip_up_down image.grayscale_to_rgb image.hsv_to_rgb
    image.pad_to_bounding_box image.per_image_standardization image.resize
    image.resize_with_crop_or_pad image.resize_with_pad image.rgb_to_grayscale image.rgb_to_hsv
    image.rot90 image.transpose keras.activations.elu keras.activations.hard_sigmoid
    keras.activations.relu keras.activations.sigmoid keras.activations.softmax
    keras.activations.swish keras.activations.tanh keras.backend.batch_flatten linalg.band_part
    linalg.diag linalg.diag_part linalg.einsum linalg.l2_normalize linalg.matmul linalg.matvec
    linalg.norm linalg.trace math.abs math.acos math.acosh math.add math.add_n math.argmax
    math.argmin math.asin math.asinh math.atan math.atan2 math.atanh math.ceil math.cos math.cosh
    math.cumprod math.cumsum math.divide math.divide_no_nan math.equal math.erf math.erfc math.exp
    math.expm1 math.floor math.floordiv math.floormod math.greater math.greater_equal math.is_finite
    math.is_inf math.is_nan math.l2_normalize math.less math.less_equal math.log math.log1p
    math.log_sigmoid math.logical_and math.logical_not math.logical_or math.logical_xor math.maximum
    math.minimum math.mod math.multiply math.multiply_no_nan math.negative math.not_equal math.pow
    math.reciprocal math.reciprocal_no_nan math.reduce_all math.reduce_any
    math.reduce_euclidean_norm math.reduce_logsumexp math.reduce_max math.reduce_mean
    math.reduce_min math.reduce_prod math.reduce_std math.reduce_sum math.reduce_variance math.rint
    math.round math.rsqrt math.scalar_mul math.sigmoid math.sign math.sin math.sinh math.softmax
    math.softplus math.softsign math.sqrt math.square math.squared_difference math.subtract math.tan
    math.tanh math.top_k math.truediv math.xlog1py math.xlogy math.zero_fraction nn.avg_pool
    nn.avg_pool1d nn.avg_pool2d nn.avg_pool3d nn.batch_normalization nn.bias_add nn.conv1d nn.conv2d
    nn.conv3d nn.convolution nn.crelu nn.depth_to_space nn.depthwise_conv2d nn.elu
    nn.embedding_lookup nn.gelu nn.l2_loss nn.l2_normalize nn.leaky_relu
    nn.local_response_normalization nn.log_softmax nn.max_pool nn.max_pool1d nn.max_pool2d
    nn.max_pool3d nn.moments nn.pool nn.relu nn.relu6 nn.selu nn.separable_conv2d nn.sigmoid nn.silu
    nn.softmax nn.softplus nn.softsign nn.space_to_depth nn.swish nn.tanh norm one_hot ones_like pad
    rank repeat reshape reverse roll scalar_mul sequence_mask shape size slice sort split squeeze
    stack stop_gradient strided_slice tensordot tile transpose truncatediv truncatemod unstack where
    zeros_like
""")
"""Functions of TensorFlow by the names that Keras 2 saves, all of them pure."""

REASONS = {
    "Lambda": "holds Python code: write it as layers",
    "__lambda__": "holds Python code: write it as layers",
    "TorchModuleWrapper": "holds a pickled PyTorch module",
    "JaxLayer": "holds JAX code",
    "FlaxLayer": "holds JAX code",
    "TFSMLayer": "reads a SavedModel from disk",
    "TensorFlowOpLayer": "holds an operation of TensorFlow as raw bytes",
}
"""Classes that are refused for a reason worth telling."""
