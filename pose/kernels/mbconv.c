// The depthwise half of an MBConv block in training: BN, SiLU, depthwise convolution, BN, SiLU,
// squeeze-excite. float32, channels last, channels a multiple of LANES. Activations are computed
// again where they are needed instead of being stored, because memory traffic is what costs.
//
// Every task is one image and LANES channels, and its reductions stay in its own row of the
// output: results do not depend on the number of threads.

#include <stdlib.h>
#include <string.h>

#ifdef __AVX512F__
#define LANES 16
#else
#define LANES 8
#endif
#define SUM_BLOCK 64  // numbers summed in one go, so that rounding errors stay small

typedef float V __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int I __attribute__((vector_size(4 * LANES)));

typedef struct {
    int batch, channels, height, width, out_height, out_width, kernel, stride, top, left;
} Shape;

#define PIXEL(tensor, pixels, p) \
    (*(V *)((tensor) + ((long)b * (pixels) + (p)) * s.channels + c))
#define ROW(tensor, rows, r) (*(V *)((tensor) + ((long)b * (rows) + (r)) * s.channels + c))
#define CHANNEL(vector) (*(const V *)((vector) + c))
#define TASKS                                          \
    _Pragma("omp for collapse(2) schedule(static)")    \
    for (int b = 0; b < s.batch; b++)                  \
        for (int c = 0; c < s.channels; c += LANES)

static inline V choose(I mask, V a, V b) { return (V)((mask & (I)a) | (~mask & (I)b)); }

// e^x to 2 ulp: 2^k times a polynomial (Cephes) of the remainder.
static inline V exponential(V x) {
    const V magic = (V){} + 12582912.0f;  // adding it rounds to an integer
    x = choose(x > 88.0f, (V){} + 88.0f, x);
    x = choose(x < -87.0f, (V){} - 87.0f, x);
    V k = x * 1.44269504f + magic;
    I bits = (I)k << 23;
    k -= magic;
    V r = x - k * 0.693359375f + k * 2.12194440e-4f;
    V p = (((((1.9875691500e-4f * r + 1.3981999507e-3f) * r + 8.3334519073e-3f) * r
             + 4.1665795894e-2f) * r + 1.6666665459e-1f) * r + 5.0000001201e-1f) * r * r + r + 1.0f;
    return (V)((I)p + bits);
}

static inline V sigmoid(V x) { return 1.0f / (1.0f + exponential(-x)); }
static inline V silu(V x) { return x * sigmoid(x); }
static inline V silu_slope(V x) {
    V s = sigmoid(x);
    return s * (1.0f + x * (1.0f - s));
}

// Each image's mean and sum of squared deviations (batch, 2, channels) of x.
void statistics(Shape s, const float *x, float *parts) {
    int pixels = s.height * s.width;
#pragma omp parallel
    TASKS {
        V first = PIXEL(x, pixels, 0), sum = {}, squares = {};
        for (int start = 0; start < pixels; start += SUM_BLOCK) {
            V block_sum = {}, block_squares = {};
            for (int p = start; p < pixels && p < start + SUM_BLOCK; p++) {
                V d = PIXEL(x, pixels, p) - first;
                block_sum += d;
                block_squares += d * d;
            }
            sum += block_sum;
            squares += block_squares;
        }
        ROW(parts, 2, 0) = first + sum / (float)pixels;
        ROW(parts, 2, 1) = squares - sum * sum / (float)pixels;
    }
}

#if defined(__AVX512F__) && !defined(__clang__)
#define IN_REGISTER(v) __asm__("" : "+v"(v))  // or gcc loads it again for every use
#else
#define IN_REGISTER(v)
#endif
#define UNROLL _Pragma("GCC unroll 25")
#define INLINE static inline __attribute__((always_inline))

// out[x] = sum over the K x K window of weights times the padded map, whose rows are `pitch` apart.
INLINE void correlate_row(const int K, const int S, const V *map, int pitch, const V *weights,
                          V *out, int width) {
    int x = 0;
    for (; x + 4 <= width; x += 4, map += 4 * S) {
        V a[4] = {};
        const V *m = map;
        UNROLL for (int i = 0; i < K; i++, m += pitch) {
            V in[3 * 2 + 5] = {};
            UNROLL for (int j = 0; j < 3 * S + K; j++) {
                in[j] = m[j];
                IN_REGISTER(in[j]);
            }
            UNROLL for (int j = 0; j < K; j++) {
                V w = weights[i * K + j];
                IN_REGISTER(w);
                UNROLL for (int k = 0; k < 4; k++) a[k] += w * in[j + k * S];
            }
        }
        UNROLL for (int k = 0; k < 4; k++) out[x + k] = a[k];
    }
    for (; x < width; x++, map += S) {
        V a = {};
        for (int i = 0; i < K; i++)
            for (int j = 0; j < K; j++) a += weights[i * K + j] * map[i * pitch + j];
        out[x] = a;
    }
}

// How many rows or columns of padded input give `out` rows or columns of output.
#define PITCH(out) (((out) - 1) * s.stride + s.kernel)

// Fills the padded map with silu(x * scale + shift), or with x; its border stays zero. `slopes`
// (pixels), where given, gets the derivative of silu.
INLINE void activate(Shape s, int b, int c, const float *x, const float *scale,
                     const float *shift, V *map, V *slopes) {
    int rows = PITCH(s.out_height), pitch = PITCH(s.out_width), pixels = s.height * s.width;
    for (int i = 0; i < s.height && i + s.top < rows; i++)
        for (int j = 0; j < s.width && j + s.left < pitch; j++) {
            V v = PIXEL(x, pixels, i * s.width + j);
            if (scale) {
                V n = v * CHANNEL(scale) + CHANNEL(shift), gate = sigmoid(n);
                v = n * gate;
                if (slopes) slopes[i * s.width + j] = gate + v * (1.0f - gate);
            }
            map[(i + s.top) * pitch + j + s.left] = v;
        }
}

// The depthwise convolution of image b and channels from c; `map` is the padded input.
INLINE void convolve(const int K, const int S, Shape s, int b, int c, V *map, const float *x,
                     const float *scale, const float *shift, const float *weight, float *y,
                     float *parts) {
    int pitch = PITCH(s.out_width), out_pixels = s.out_height * s.out_width;
    V w[K * K], row[s.out_width];
    for (int k = 0; k < K * K; k++) w[k] = CHANNEL(weight + k * s.channels);
    activate(s, b, c, x, scale, shift, map, NULL);
    V first = {}, sum = {}, squares = {};
    for (int i = 0; i < s.out_height; i++) {
        correlate_row(K, S, map + i * S * pitch, pitch, w, row, s.out_width);
        if (i == 0) first = row[0];
        V row_sum = {}, row_squares = {};
        for (int j = 0; j < s.out_width; j++) {
            V d = row[j] - first;
            row_sum += d;
            row_squares += d * d;
            PIXEL(y, out_pixels, i * s.out_width + j) = row[j];
        }
        sum += row_sum;
        squares += row_squares;
    }
    ROW(parts, 2, 0) = first + sum / (float)out_pixels;
    ROW(parts, 2, 1) = squares - sum * sum / (float)out_pixels;
}

// Its gradients; `spread` is the padded gradient of its output, with the zeros of the stride.
INLINE void convolve_backward(const int K, const int S, Shape s, int b, int c, V *map, V *spread,
                              V *slopes, const float *x, const float *scale,
                              const float *shift, const float *mean, const float *weight,
                              const float *dy, float *dx, float *dweight, float *sums) {
    int pitch = PITCH(s.out_width), wide = s.width + K - 1;
    int pixels = s.height * s.width, out_pixels = s.out_height * s.out_width;
    activate(s, b, c, x, scale, shift, map, slopes);
    V a[K * K], w[K * K], row[s.width];
    UNROLL for (int k = 0; k < K * K; k++) a[k] = (V){};
    for (int i = 0; i < s.out_height; i++) {
        V *to = spread + (i * S + K - 1 - s.top) * wide + K - 1 - s.left;
        const V *m = map + i * S * pitch;
        for (int j = 0; j < s.out_width; j++, m += S, to += S) {
            V g = *to = PIXEL(dy, out_pixels, i * s.out_width + j);
            UNROLL for (int u = 0; u < K; u++)
                UNROLL for (int v = 0; v < K; v++) a[u * K + v] += g * m[u * pitch + v];
        }
    }
    UNROLL for (int k = 0; k < K * K; k++) {
        ROW(dweight, K * K, k) = a[k];
        w[K * K - 1 - k] = CHANNEL(weight + k * s.channels);  // mirrored
    }
    V sum = {}, products = {};
    for (int i = 0; i < s.height; i++) {
        correlate_row(K, 1, spread + i * wide, wide, w, row, s.width);
        V row_sum = {}, row_products = {};
        for (int j = 0; j < s.width; j++) {
            V d = row[j];
            if (scale) {
                d *= slopes[i * s.width + j];
                row_sum += d;
                row_products += d * (PIXEL(x, pixels, i * s.width + j) - CHANNEL(mean));
            }
            PIXEL(dx, pixels, i * s.width + j) = d;
        }
        sum += row_sum;
        products += row_products;
    }
    if (scale) {
        ROW(sums, 2, 0) = sum;
        ROW(sums, 2, 1) = products;
    }
}

// Constant K and S, or nothing would be unrolled.
#define DISPATCH(function, ...)                                           \
    if (s.kernel == 3 && s.stride == 1) function(3, 1, s, b, c, __VA_ARGS__); \
    if (s.kernel == 3 && s.stride == 2) function(3, 2, s, b, c, __VA_ARGS__); \
    if (s.kernel == 5 && s.stride == 1) function(5, 1, s, b, c, __VA_ARGS__); \
    if (s.kernel == 5 && s.stride == 2) function(5, 2, s, b, c, __VA_ARGS__);

static V *zeros(long cells) {
    V *map = aligned_alloc(64, cells * sizeof(V));
    return memset(map, 0, cells * sizeof(V));
}

void depthwise_forward(Shape s, const float *x, const float *scale, const float *shift,
                       const float *weight, float *y, float *parts) {
#pragma omp parallel
    {
        V *map = zeros((long)PITCH(s.out_height) * PITCH(s.out_width));
        TASKS { DISPATCH(convolve, map, x, scale, shift, weight, y, parts) }
        free(map);
    }
}

void depthwise_gradients(Shape s, const float *x, const float *scale, const float *shift,
                         const float *mean, const float *weight, const float *dy, float *dx,
                         float *dweight, float *sums) {
    int border = s.kernel - 1;
#pragma omp parallel
    {
        V *map = zeros((long)PITCH(s.out_height) * PITCH(s.out_width));
        V *spread = zeros((long)(s.height + border) * (s.width + border));
        V *slopes = zeros((long)s.height * s.width);
        TASKS {
            DISPATCH(convolve_backward, map, spread, slopes, x, scale, shift, mean, weight, dy,
                     dx, dweight, sums)
        }
        free(map);
        free(spread);
        free(slopes);
    }
}

// dx = a * dx + b * x + r, in place, a to r per channel.
void combine(Shape s, const float *x, const float *a, const float *b_, const float *r, float *dx) {
    int pixels = s.height * s.width;
#pragma omp parallel
    TASKS for (int p = 0; p < pixels; p++)
        PIXEL(dx, pixels, p) = CHANNEL(a) * PIXEL(dx, pixels, p) + CHANNEL(b_) * PIXEL(x, pixels, p)
                               + CHANNEL(r);
}

// Mean over pixels (batch, channels) of silu(x * scale + shift).
void squeeze(Shape s, const float *x, const float *scale, const float *shift, float *means) {
    int pixels = s.height * s.width;
#pragma omp parallel
    TASKS {
        V sum = {};
        for (int start = 0; start < pixels; start += SUM_BLOCK) {
            V block = {};
            for (int p = start; p < pixels && p < start + SUM_BLOCK; p++)
                block += silu(PIXEL(x, pixels, p) * CHANNEL(scale) + CHANNEL(shift));
            sum += block;
        }
        ROW(means, 1, 0) = sum / (float)pixels;
    }
}

// y = silu(x * scale + shift) * gate (batch, channels).
void excite(Shape s, const float *x, const float *scale, const float *shift, const float *gate,
            float *y) {
    int pixels = s.height * s.width;
#pragma omp parallel
    TASKS for (int p = 0; p < pixels; p++)
        PIXEL(y, pixels, p) = silu(PIXEL(x, pixels, p) * CHANNEL(scale) + CHANNEL(shift))
                              * ROW(gate, 1, 0);
}

// Sums over pixels (batch, 5, channels) of dy * silu, dy * slope, slope and the last two times
// (x - mean): with the gate's gradient they give BN's.
void excite_sums(Shape s, const float *x, const float *scale, const float *shift,
                 const float *mean, const float *dy, float *sums) {
    int pixels = s.height * s.width;
#pragma omp parallel
    TASKS {
        V total[5] = {};
        for (int start = 0; start < pixels; start += SUM_BLOCK) {
            V block[5] = {};
            for (int p = start; p < pixels && p < start + SUM_BLOCK; p++) {
                V v = PIXEL(x, pixels, p), n = v * CHANNEL(scale) + CHANNEL(shift);
                V g = PIXEL(dy, pixels, p), gate = sigmoid(n), d = v - CHANNEL(mean);
                V slope = gate * (1.0f + n * (1.0f - gate)), product = g * slope;
                block[0] += g * n * gate;
                block[1] += product;
                block[2] += slope;
                block[3] += product * d;
                block[4] += slope * d;
            }
            for (int k = 0; k < 5; k++) total[k] += block[k];
        }
        for (int k = 0; k < 5; k++) ROW(sums, 5, k) = total[k];
    }
}

// dx = a * (dy * gate + pool) * slope + b * x + r, gate and pool (batch, channels).
void excite_gradient(Shape s, const float *x, const float *scale, const float *shift,
                     const float *gate, const float *pool, const float *a, const float *b_,
                     const float *r, const float *dy, float *dx) {
    int pixels = s.height * s.width;
#pragma omp parallel
    TASKS for (int p = 0; p < pixels; p++) {
        V v = PIXEL(x, pixels, p), g = PIXEL(dy, pixels, p) * ROW(gate, 1, 0) + ROW(pool, 1, 0);
        V slope = silu_slope(v * CHANNEL(scale) + CHANNEL(shift));
        PIXEL(dx, pixels, p) = CHANNEL(a) * g * slope + CHANNEL(b_) * v + CHANNEL(r);
    }
}
