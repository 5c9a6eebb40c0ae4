// The optimiser over all tensors of a network at once; see adam.rs, which starts these kernels.

// Room for the tensors of one network.
#define LEAVES 64

// One tensor after the other: `start[i]` is the place of the first number of tensor i in the flat vector of all.
// Of several networks of one layout each tensor holds one's numbers after the other's; blockIdx.y is the network.
struct Leaves {
    float *value[LEAVES];
    const float *gradient[LEAVES]; // null where the loss does not depend on the tensor
    unsigned int start[LEAVES + 1];
    unsigned int count;
};

__device__ static unsigned int leaf_of(const Leaves &leaves, unsigned int i) {
    unsigned int leaf = 0;
    while (i >= leaves.start[leaf + 1]) leaf++;
    return leaf;
}

// Where number i of this block's network lies in tensor `leaf`.
__device__ static size_t place_in(const Leaves &leaves, unsigned int leaf, unsigned int i) {
    size_t width = leaves.start[leaf + 1] - leaves.start[leaf];
    return blockIdx.y * width + (i - leaves.start[leaf]);
}

// The sum of squares of each block's share of the gradient; a network has `partials` of them, of which these are
// some. The sums are the same in every run: each thread's numbers are in a fixed order, and so is the tree that
// adds the threads'.
extern "C" __global__ void sum_squares(const Leaves leaves, float *partial, unsigned int partials) {
    __shared__ float sums[256];
    float sum = 0.0f;
    for (unsigned int i = blockIdx.x * blockDim.x + threadIdx.x; i < leaves.start[leaves.count];
         i += gridDim.x * blockDim.x) {
        unsigned int leaf = leaf_of(leaves, i);
        if (leaves.gradient[leaf]) {
            float g = leaves.gradient[leaf][place_in(leaves, leaf, i)];
            sum += g * g;
        }
    }
    sums[threadIdx.x] = sum;
    for (unsigned int half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    if (threadIdx.x == 0) partial[blockIdx.y * partials + blockIdx.x] = sums[0];
}

// One step of Adam. `step` holds the step size over 1 - beta1^t, 1 / sqrt(1 - beta2^t), and the bound on the
// gradient's norm (0: none). The norm is that of all `partials` of the network.
extern "C" __global__ void adam(const Leaves leaves, float *m, float *v, float beta1, float beta2, float eps,
                                const float *step, const float *partial, unsigned int partials, float *norm) {
    __shared__ float scale;
    if (threadIdx.x == 0) {
        float sum = 0.0f;
        for (unsigned int i = 0; i < partials; i++) sum += partial[blockIdx.y * partials + i];
        float root = sqrtf(sum);
        scale = step[2] > 0.0f ? fminf(step[2] / (root + 1e-6f), 1.0f) : 1.0f;
        if (blockIdx.x == 0) norm[blockIdx.y] = root;
    }
    __syncthreads();
    for (unsigned int i = blockIdx.x * blockDim.x + threadIdx.x; i < leaves.start[leaves.count];
         i += gridDim.x * blockDim.x) {
        unsigned int leaf = leaf_of(leaves, i);
        size_t at = place_in(leaves, leaf, i), own = (size_t)blockIdx.y * leaves.start[leaves.count] + i;
        float g = leaves.gradient[leaf] ? leaves.gradient[leaf][at] * scale : 0.0f;
        float mean = m[own] = m[own] * beta1 + g * (1.0f - beta1);
        float square = v[own] = v[own] * beta2 + g * g * (1.0f - beta2);
        leaves.value[leaf][at] -= mean * step[0] / (sqrtf(square) * step[1] + eps);
    }
}
