// The depthwise half of an MBConv block in training: BN, SiLU, depthwise convolution, BN, SiLU,
// squeeze-excite. float32, channels last, channels a multiple of LANES. Activations are computed
// again where they are needed instead of being stored, because memory traffic is what costs.
//
// A task of the convolutions is one image and a few vectors of channels, of the other passes one
// row of an image. Its reductions stay in its own row of the output: results do not depend on the
// number of threads.

#include <stdlib.h>
#include <string.h>

#ifdef __AVX512F__
#define LANES 16
#else
#define LANES 8
#endif
#define VECTORS 2  // of LANES channels that a convolution's task takes: memory likes long pieces

typedef float V __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int I __attribute__((vector_size(4 * LANES)));

typedef struct {
    int batch, channels, height, width, out_height, out_width, kernel, stride, top, left;
} Shape;

#define AT(tensor, index) (*(V *)((tensor) + (long)(index) * s.channels + c))
#define CHANNEL(vector) (*(const V *)((vector) + c))
#define EACH_ROW _Pragma("omp parallel for") for (int row = 0; row < s.batch * s.height; row++)
#define EACH_PIXEL for (int p = row * s.width; p < (row + 1) * s.width; p++)
#define EACH_CHANNEL for (int c = 0; c < s.channels; c += LANES)

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

// Each row's mean and sum of squared deviations (batch * height, 2, channels) of x.
void statistics(Shape s, const float *x, float *parts) {
    EACH_ROW {
        EACH_CHANNEL AT(parts, 2 * row) = AT(parts, 2 * row + 1) = (V){};
        EACH_PIXEL EACH_CHANNEL {
            V d = AT(x, p) - AT(x, row * s.width);
            AT(parts, 2 * row) += d;
            AT(parts, 2 * row + 1) += d * d;
        }
        EACH_CHANNEL {
            V sum = AT(parts, 2 * row);
            AT(parts, 2 * row) = AT(x, row * s.width) + sum / (float)s.width;
            AT(parts, 2 * row + 1) -= sum * sum / (float)s.width;
        }
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

// How many columns of padded input give `out` columns of output.
#define PITCH(out) (((out) - 1) * s.stride + s.kernel)

// The convolutions see the image through windows that move down by BAND rows of the input: rows
// [top, top + BAND + K - 1), of which the last K - 1 stay for the next window. A window of each
// vector lies behind the other. What the next rows need is fetched meanwhile: a task's pieces of
// memory lie too far apart for the CPU to foresee them.
#define BAND 4
#define WINDOW (BAND + K - 1)

INLINE void move_down(const int K, int vectors, V *window, int pitch) {
    for (int v = 0; v < vectors; v++, window += WINDOW * pitch)
        memmove(window, window + BAND * pitch, (K - 1) * pitch * sizeof(V));
}

// Fills rows `from` on of the window at input row `top` with silu(x * scale + shift), or with x,
// and with zeros outside the image. `slopes`, where given, gets the derivative of silu.
INLINE void activate(const int K, Shape s, int b, int c0, int vectors, int top, int from,
                     const float *x, const float *scale, const float *shift, V *map, V *slopes) {
    int pitch = PITCH(s.out_width), columns = pitch - s.left < s.width ? pitch - s.left : s.width;
    for (int q = from; q < WINDOW; q++) {
        int i = top + q;
        if (i < 0 || i >= s.height) {
            for (int v = 0; v < vectors; v++)
                memset(map + (v * WINDOW + q) * pitch, 0, pitch * sizeof(V));
            continue;
        }
        for (int j = 0; j < columns; j++)
            for (int v = 0, c = c0; v < vectors; v++, c += LANES) {
                int p = (b * s.height + i) * s.width + j;
                V value = AT(x, p);
                __builtin_prefetch(&AT(x, p + BAND * s.width));
                if (scale) {
                    V n = value * CHANNEL(scale) + CHANNEL(shift), gate = sigmoid(n);
                    value = n * gate;
                    if (slopes)
                        slopes[(v * WINDOW + q) * s.width + j] = gate + value * (1.0f - gate);
                }
                map[(v * WINDOW + q) * pitch + j + s.left] = value;
            }
    }
}

// The depthwise convolution of image b and channels from c0.
INLINE void convolve(const int K, const int S, Shape s, int b, int c0, int vectors, V *map,
                     const float *x, const float *scale, const float *shift, const float *weight,
                     float *y, float *parts) {
    int pitch = PITCH(s.out_width), width = s.out_width;
    V w[VECTORS][K * K], rows[VECTORS][width];
    V first[VECTORS], sum[VECTORS] = {}, squares[VECTORS] = {};
    for (int v = 0, c = c0; v < vectors; v++, c += LANES)
        for (int k = 0; k < K * K; k++) w[v][k] = AT(weight, k);
    for (int i0 = 0; i0 < s.out_height; i0 += BAND / S) {
        if (i0) move_down(K, vectors, map, pitch);
        activate(K, s, b, c0, vectors, i0 * S - s.top, i0 ? K - 1 : 0, x, scale, shift, map, NULL);
        for (int i = i0; i < i0 + BAND / S && i < s.out_height; i++) {
            for (int v = 0; v < vectors; v++) {
                const V *m = map + (v * WINDOW + (i - i0) * S) * pitch;
                correlate_row(K, S, m, pitch, w[v], rows[v], width);
                if (i == 0) first[v] = rows[v][0];
                V row_sum = {}, row_squares = {};
                for (int j = 0; j < width; j++) {
                    V d = rows[v][j] - first[v];
                    row_sum += d;
                    row_squares += d * d;
                }
                sum[v] += row_sum;
                squares[v] += row_squares;
            }
            for (int j = 0; j < width; j++)
                for (int v = 0, c = c0; v < vectors; v++, c += LANES) {
                    int p = (b * s.out_height + i) * width + j;
                    AT(y, p) = rows[v][j];
                    __builtin_prefetch(&AT(y, p + width), 1);
                }
        }
    }
    float pixels = s.out_height * width;
    for (int v = 0, c = c0; v < vectors; v++, c += LANES) {
        AT(parts, 2 * b) = first[v] + sum[v] / pixels;
        AT(parts, 2 * b + 1) = squares[v] - sum[v] * sum[v] / pixels;
    }
}

// Its gradients; `spread` is the padded gradient of its output, with the zeros of the stride.
INLINE void convolve_backward(const int K, const int S, Shape s, int b, int c0, int vectors,
                              V *map, V *spread, V *slopes, const float *x, const float *scale,
                              const float *shift, const float *mean, const float *weight,
                              const float *dy, float *dx, float *dweight, float *sums) {
    int pitch = PITCH(s.out_width), wide = s.width + K - 1, width = s.width;
    V a[VECTORS][K * K], w[VECTORS][K * K], rows[VECTORS][width];
    V sum[VECTORS] = {}, products[VECTORS] = {};
    for (int v = 0, c = c0; v < vectors; v++, c += LANES)
        for (int k = 0; k < K * K; k++) {
            a[v][k] = (V){};
            w[v][K * K - 1 - k] = AT(weight, k);  // mirrored
        }
    memset(spread, 0, (long)VECTORS * WINDOW * wide * sizeof(V));
    for (int i0 = 0, top = -s.top; top < s.height; i0 += BAND / S, top += BAND) {
        if (i0) {
            move_down(K, vectors, map, pitch);
            move_down(K, vectors, slopes, width);
            move_down(K, vectors, spread, wide);
        }
        activate(K, s, b, c0, vectors, top, i0 ? K - 1 : 0, x, scale, shift, map, slopes);
        for (int i = i0; i < i0 + BAND / S; i++)
            for (int j = 0; j < s.out_width; j++)
                for (int v = 0, c = c0; v < vectors; v++, c += LANES) {
                    int p = (b * s.out_height + i) * s.out_width + j;
                    spread[(v * WINDOW + (i - i0) * S + K - 1) * wide + K - 1 - s.left + j * S] =
                        i < s.out_height ? AT(dy, p) : (V){};
                    __builtin_prefetch(&AT(dy, p + BAND / S * s.out_width));
                }
        for (int v = 0; v < vectors; v++) {
            V taps[K * K];
            UNROLL for (int k = 0; k < K * K; k++) taps[k] = a[v][k];
            for (int i = 0; i < BAND / S && i0 + i < s.out_height; i++) {
                const V *m = map + (v * WINDOW + i * S) * pitch;
                const V *g = spread + (v * WINDOW + i * S + K - 1) * wide + K - 1 - s.left;
                for (int j = 0; j < s.out_width; j++, m += S, g += S)
                    UNROLL for (int k = 0; k < K * K; k++)
                        taps[k] += *g * m[k / K * pitch + k % K];
            }
            UNROLL for (int k = 0; k < K * K; k++) a[v][k] = taps[k];
        }
        for (int q = 0; q < BAND; q++) {
            int i = top + q;
            if (i < 0 || i >= s.height) continue;
            for (int v = 0; v < vectors; v++)
                correlate_row(K, 1, spread + (v * WINDOW + q) * wide, wide, w[v], rows[v], width);
            V row_sum[VECTORS] = {}, row_products[VECTORS] = {};
            for (int j = 0; j < width; j++)
                for (int v = 0, c = c0; v < vectors; v++, c += LANES) {
                    int p = (b * s.height + i) * width + j;
                    V d = rows[v][j];
                    if (scale) {
                        d *= slopes[(v * WINDOW + q) * width + j];
                        row_sum[v] += d;
                        row_products[v] += d * (AT(x, p) - CHANNEL(mean));
                    }
                    AT(dx, p) = d;
                    __builtin_prefetch(&AT(dx, p + width), 1);
                }
            for (int v = 0; v < vectors; v++) {
                sum[v] += row_sum[v];
                products[v] += row_products[v];
            }
        }
    }
    for (int v = 0, c = c0; v < vectors; v++, c += LANES) {
        for (int k = 0; k < K * K; k++) AT(dweight, b * K * K + k) = a[v][k];
        if (scale) {
            AT(sums, 2 * b) = sum[v];
            AT(sums, 2 * b + 1) = products[v];
        }
    }
}

#define TASKS                                       \
    _Pragma("omp for collapse(2) schedule(static)") \
    for (int b = 0; b < s.batch; b++)               \
        for (int c = 0; c < s.channels; c += VECTORS * LANES)

// Constant K and S, or nothing would be unrolled.
#define DISPATCH(function, ...)                                                \
    int left = (s.channels - c) / LANES, n = left < VECTORS ? left : VECTORS;     \
    if (s.kernel == 3 && s.stride == 1) function(3, 1, s, b, c, n, __VA_ARGS__); \
    if (s.kernel == 3 && s.stride == 2) function(3, 2, s, b, c, n, __VA_ARGS__); \
    if (s.kernel == 5 && s.stride == 1) function(5, 1, s, b, c, n, __VA_ARGS__); \
    if (s.kernel == 5 && s.stride == 2) function(5, 2, s, b, c, n, __VA_ARGS__);

static V *windows(Shape s, int width) {
    long size = (long)VECTORS * (BAND + s.kernel - 1) * width * sizeof(V);
    return memset(aligned_alloc(64, size), 0, size);
}

void depthwise_forward(Shape s, const float *x, const float *scale, const float *shift,
                       const float *weight, float *y, float *parts) {
#pragma omp parallel
    {
        V *map = windows(s, PITCH(s.out_width));
        TASKS { DISPATCH(convolve, map, x, scale, shift, weight, y, parts) }
        free(map);
    }
}

void depthwise_gradients(Shape s, const float *x, const float *scale, const float *shift,
                         const float *mean, const float *weight, const float *dy, float *dx,
                         float *dweight, float *sums) {
#pragma omp parallel
    {
        V *map = windows(s, PITCH(s.out_width)), *slopes = windows(s, s.width);
        V *spread = windows(s, s.width + s.kernel - 1);
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
void combine(Shape s, const float *x, const float *a, const float *b, const float *r, float *dx) {
    EACH_ROW EACH_PIXEL EACH_CHANNEL
        AT(dx, p) = CHANNEL(a) * AT(dx, p) + CHANNEL(b) * AT(x, p) + CHANNEL(r);
}

// Each row's sum (batch * height, channels) of silu(x * scale + shift).
void squeeze(Shape s, const float *x, const float *scale, const float *shift, float *sums) {
    EACH_ROW {
        EACH_CHANNEL AT(sums, row) = (V){};
        EACH_PIXEL EACH_CHANNEL
            AT(sums, row) += silu(AT(x, p) * CHANNEL(scale) + CHANNEL(shift));
    }
}

// y = silu(x * scale + shift) * gate (batch, channels).
void excite(Shape s, const float *x, const float *scale, const float *shift, const float *gate,
            float *y) {
    EACH_ROW EACH_PIXEL EACH_CHANNEL
        AT(y, p) = silu(AT(x, p) * CHANNEL(scale) + CHANNEL(shift)) * AT(gate, row / s.height);
}

// Each row's sums (batch * height, 5, channels) of dy * silu, dy * slope, slope and the last two
// times (x - mean): with the gate's gradient they give BN's.
void excite_sums(Shape s, const float *x, const float *scale, const float *shift,
                 const float *mean, const float *dy, float *sums) {
    EACH_ROW {
        for (int k = 0; k < 5; k++) EACH_CHANNEL AT(sums, 5 * row + k) = (V){};
        EACH_PIXEL EACH_CHANNEL {
            V v = AT(x, p), n = v * CHANNEL(scale) + CHANNEL(shift), d = v - CHANNEL(mean);
            V g = AT(dy, p), gate = sigmoid(n), slope = gate * (1.0f + n * (1.0f - gate));
            AT(sums, 5 * row) += g * n * gate;
            AT(sums, 5 * row + 1) += g * slope;
            AT(sums, 5 * row + 2) += slope;
            AT(sums, 5 * row + 3) += g * slope * d;
            AT(sums, 5 * row + 4) += slope * d;
        }
    }
}

// dx = a * (dy * gate + pool) * slope + b * x + r, gate and pool (batch, channels).
void excite_gradient(Shape s, const float *x, const float *scale, const float *shift,
                     const float *gate, const float *pool, const float *a, const float *b,
                     const float *r, const float *dy, float *dx) {
    EACH_ROW EACH_PIXEL EACH_CHANNEL {
        int image = row / s.height;
        V v = AT(x, p), g = AT(dy, p) * AT(gate, image) + AT(pool, image);
        V slope = silu_slope(v * CHANNEL(scale) + CHANNEL(shift));
        AT(dx, p) = CHANNEL(a) * g * slope + CHANNEL(b) * v + CHANNEL(r);
    }
}
