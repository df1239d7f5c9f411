// Kernels over rows of half floats: a bias is added to every row, and GELU taken of it.
//
// ONNX Runtime's own kernels for these take about twice what the memory allows. A thread loads 16 bytes at a time, eight
// values, of STEPS rows before it computes: enough in flight to keep the memory busy. Blocks are (columns / 8, rows of a
// block); a grid has one block for each STEPS times the rows of a block. Made into rows.ptx by NVRTC, see its head.

struct __align__(16) Eight {
  unsigned int pairs[4];
};

constexpr int STEPS = 4;

__device__ __forceinline__ void widen(unsigned int pair, float& low, float& high) {
  asm("{\n .reg .b16 a, b;\n mov.b32 {a, b}, %2;\n cvt.f32.f16 %0, a;\n cvt.f32.f16 %1, b;\n}"
      : "=f"(low), "=f"(high)
      : "r"(pair));
}

__device__ __forceinline__ unsigned int narrow(float low, float high) {
  unsigned int pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

// x times the normal distribution's share below x. The share is 1 - erfc(|x| / sqrt 2) / 2 on the right and the rest of
// it on the left; erfc by Abramowitz and Stegun 7.1.26, which is off by 1.5e-7 at most, a thousandth of what half floats
// round away near one.
__device__ __forceinline__ float gelu(float x) {
  const float size = fabsf(x);
  float t, tail;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(t) : "f"(fmaf(0.231641888f, size, 1.0f)));
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(tail) : "f"(-0.721347520f * size * size));
  float p = fmaf(0.5307027145f, t, -0.7265760135f);
  p = fmaf(p, t, 0.7107068705f);
  p = fmaf(p, t, -0.142248368f);
  p = fmaf(p, t, 0.127414796f);
  return fmaf(-size, p * t * tail, fmaxf(x, 0.0f));
}

template <bool ACTIVATED>
__device__ __forceinline__ void rows(const Eight* __restrict__ bias, const Eight* x, Eight* y, int count) {
  const int width = blockDim.x;
  const int first = blockIdx.x * blockDim.y * STEPS + threadIdx.y;
  const Eight shift = bias[threadIdx.x];
  Eight values[STEPS];
#pragma unroll
  for (int step = 0; step < STEPS; ++step) {
    const int row = first + step * blockDim.y;
    if (row < count) values[step] = x[(size_t)row * width + threadIdx.x];
  }
#pragma unroll
  for (int step = 0; step < STEPS; ++step) {
    const int row = first + step * blockDim.y;
    if (row >= count) break;
#pragma unroll
    for (int at = 0; at < 4; ++at) {
      float low, high, low_bias, high_bias;
      widen(values[step].pairs[at], low, high);
      widen(shift.pairs[at], low_bias, high_bias);
      low += low_bias;
      high += high_bias;
      values[step].pairs[at] = ACTIVATED ? narrow(gelu(low), gelu(high)) : narrow(low, high);
    }
    y[(size_t)row * width + threadIdx.x] = values[step];
  }
}

extern "C" __global__ void __launch_bounds__(1024) bias(const Eight* bias, const Eight* x, Eight* y, int count) {
  rows<false>(bias, x, y, count);
}

extern "C" __global__ void __launch_bounds__(1024) bias_gelu(const Eight* bias, const Eight* x, Eight* y, int count) {
  rows<true>(bias, x, y, count);
}
