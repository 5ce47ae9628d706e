// 3x3 convolutions of stride 1 and padding 1 in float32 by Winograd's F(4x4, 3x3) (Lavin & Gray 2016), and their gradients.
//
// A tile is 4x4 outputs of an image and the 6x6 inputs around them; each of its 36 taps is a matrix product over channels
// where a direct convolution has 9 products for each of 16 outputs: 2.25 for each instead of 9.
//
//   y  = A' [sum_in  (G w G') (B' x B)] A      forward; the gradient of the input likewise, with w turned around
//   dw = G' [sum_tiles (B' x B) (A dy A')] G   the gradient of the weight
//
// Maps are (count, height, width, channels), contiguous; channels are multiples of BLOCK. Tiles are taken some at a time, so
// that what lies between the transforms stays in the cache: by each thread alone where channels are few, so that none waits for
// another, else by all together. All sums are in a fixed order for a given number of threads.
// Vectors are the compiler's own (GCC, Clang), so this is one source for every processor.

#include <algorithm>
#include <cstdint>
#include <utility>

#include <omp.h>

namespace {

#if defined(__AVX512F__)
constexpr int64_t WIDTH = 16, ROWS = 14, GRADIENT_ROWS = 8;
#elif defined(__AVX__)
constexpr int64_t WIDTH = 8, ROWS = 6, GRADIENT_ROWS = 4;
#elif defined(__aarch64__)
constexpr int64_t WIDTH = 4, ROWS = 8, GRADIENT_ROWS = 8;
#else
constexpr int64_t WIDTH = 4, ROWS = 4, GRADIENT_ROWS = 4;
#endif

constexpr int64_t TAPS = 36, BLOCK = 16, PANEL = 2 * WIDTH;
constexpr int64_t FEW_CHANNELS = 256;  // in and out together: up to here each thread takes SMALL chunks of its own
constexpr int64_t SMALL = 42, CHUNK = 70, ONE = 140;  // tiles at most; ONE if that is all there are
constexpr int64_t DEPTH = 128;  // products summed one by one before their sum is added to the others': fewer roundings
constexpr int64_t PAGE = 1024;  // floats; what is a multiple of it apart falls into the same lines of the cache

typedef float Vector __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));

inline Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }

inline void input(const Vector (&x)[6], Vector (&out)[6]) {  // B' x
    const Vector a = x[4] - 4 * x[2], b = x[3] - 4 * x[1], c = x[4] - x[2], d = 2 * (x[3] - x[1]);
    out[0] = 4 * x[0] - 5 * x[2] + x[4];
    out[1] = a + b;
    out[2] = a - b;
    out[3] = c + d;
    out[4] = c - d;
    out[5] = 4 * x[1] - 5 * x[3] + x[5];
}

inline void output(const Vector (&m)[6], Vector (&out)[4]) {  // A' m
    const Vector a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], d = m[3] - m[4];
    out[0] = m[0] + a + c;
    out[1] = b + 2 * d;
    out[2] = a + 4 * c;
    out[3] = b + 8 * d + m[5];
}

inline void output_back(const Vector (&y)[4], Vector (&out)[6]) {  // A y
    const Vector a = y[0] + y[2], b = y[1] + y[3], c = y[0] + 4 * y[2], d = 2 * y[1] + 8 * y[3];
    out[0] = y[0];
    out[1] = a + b;
    out[2] = a - b;
    out[3] = c + d;
    out[4] = c - d;
    out[5] = y[3];
}

inline void weight(const Vector (&w)[3], Vector (&out)[6]) {  // G w
    const Vector a = (w[0] + w[2]) * (-1.0f / 6), b = w[1] * (1.0f / 6);
    const Vector c = w[0] * (1.0f / 24) + w[2] * (1.0f / 6), d = w[1] * (1.0f / 12);
    out[0] = w[0] * 0.25f;
    out[1] = a - b;
    out[2] = a + b;
    out[3] = c + d;
    out[4] = c - d;
    out[5] = w[2];
}

inline void weight_back(const Vector (&u)[6], Vector (&out)[3]) {  // G' u
    const Vector a = u[1] + u[2], b = u[1] - u[2], c = u[3] + u[4], d = u[3] - u[4];
    out[0] = u[0] * 0.25f - a * (1.0f / 6) + c * (1.0f / 24);
    out[1] = d * (1.0f / 12) - b * (1.0f / 6);
    out[2] = (c - a) * (1.0f / 6) + u[5];
}

// Both axes: `take(row, column)` gives a value of the N x N square, `give(row, column, value)` takes one of the M x M result.
template <int N, int M, void (*AXIS)(const Vector (&)[N], Vector (&)[M]), class Take, class Give>
inline void both_axes(Take take, Give give) {
    Vector half[M][N], line[N], out[M];
    for (int column = 0; column < N; ++column) {
        for (int row = 0; row < N; ++row) line[row] = take(row, column);
        AXIS(line, out);
        for (int row = 0; row < M; ++row) half[row][column] = out[row];
    }
    for (int row = 0; row < M; ++row) {
        AXIS(half[row], out);
        for (int column = 0; column < M; ++column) give(row, column, out[column]);
    }
}

struct Map {
    int64_t count, height, width, channels;

    int64_t across() const { return (width + 3) / 4; }
    int64_t in_image() const { return (height + 3) / 4 * across(); }
    int64_t tiles() const { return count * in_image(); }
};

struct Tile {  // by its number; `at` is its first output, in floats from the start of the map
    int64_t top, left, at;

    Tile(const Map& map, int64_t number)
        : top(number % map.in_image() / map.across() * 4),
          left(number % map.across() * 4),
          at(((number / map.in_image() * map.height + top) * map.width + left) * map.channels) {}
};

void input_tile(const Map& map, const float* x, int64_t number, float* v, int64_t tap) {
    const Tile tile(map, number);
    const auto there = [&](int row, int column) {
        return uint64_t(tile.top + row - 1) < uint64_t(map.height) && uint64_t(tile.left + column - 1) < uint64_t(map.width);
    };
    for (int64_t c = 0; c < map.channels; c += WIDTH)
        both_axes<6, 6, input>(
            [&](int row, int column) {
                const int64_t pixel = (row - 1) * map.width + column - 1;
                return there(row, column) ? load(x + tile.at + pixel * map.channels + c) : Vector{};
            },
            [&](int row, int column, Vector value) { store(v + (row * 6 + column) * tap + c, value); });
}

void gradient_tile(const Map& map, const float* dy, int64_t number, float* m, int64_t tap) {
    const Tile tile(map, number);
    for (int64_t c = 0; c < map.channels; c += WIDTH)
        both_axes<4, 6, output_back>(
            [&](int row, int column) {
                const bool there = tile.top + row < map.height && tile.left + column < map.width;
                return there ? load(dy + tile.at + (row * map.width + column) * map.channels + c) : Vector{};
            },
            [&](int row, int column, Vector value) { store(m + (row * 6 + column) * tap + c, value); });
}

void output_tile(const Map& map, const float* m, int64_t tap, const float* bias, int64_t number, float* y) {
    const Tile tile(map, number);
    for (int64_t c = 0; c < map.channels; c += WIDTH) {
        const Vector added = bias ? load(bias + c) : Vector{};
        both_axes<6, 4, output>(
            [&](int row, int column) { return load(m + (row * 6 + column) * tap + c); },
            [&](int row, int column, Vector value) {
                if (tile.top + row < map.height && tile.left + column < map.width)
                    store(y + tile.at + (row * map.width + column) * map.channels + c, value + added);
            });
    }
}

struct Matrix {
    const float* at;
    int64_t line;  // floats from one row to the next
};

// c (+)= a b of R rows and N vectors; a is (R, depth), or (depth, R) if TURNED
template <int64_t R, int64_t N, bool TURNED>
inline void product(Matrix a, Matrix b, float* c, int64_t line, int64_t depth, bool add) {
    Vector sum[R][N] = {};
    for (int64_t k = 0; k < depth; ++k) {
        Vector row[N];
        for (int64_t n = 0; n < N; ++n) row[n] = load(b.at + k * b.line + n * WIDTH);
#pragma GCC unroll 16
        for (int64_t r = 0; r < R; ++r) {
            const float value = TURNED ? a.at[k * a.line + r] : a.at[r * a.line + k];
#pragma GCC unroll 2
            for (int64_t n = 0; n < N; ++n) sum[r][n] += value * row[n];
        }
    }
    for (int64_t r = 0; r < R; ++r)
        for (int64_t n = 0; n < N; ++n) {
            float* to = c + r * line + n * WIDTH;
            store(to, add ? load(to) + sum[r][n] : sum[r][n]);
        }
}

// The same of `rows` rows, 1 to R.
template <int64_t R, int64_t N, bool TURNED>
inline void product_of(int64_t rows, Matrix a, Matrix b, float* c, int64_t line, int64_t depth, bool add) {
    if constexpr (R > 1)
        if (rows < R) return product_of<R - 1, N, TURNED>(rows, a, b, c, line, depth, add);
    product<R, N, TURNED>(a, b, c, line, depth, add);
}

// The same of any number of rows and a depth of any size: as few and as equal parts as fit.
template <int64_t R, int64_t N, bool TURNED>
void products(int64_t rows, Matrix a, Matrix b, float* c, int64_t line, int64_t depth, bool add) {
    for (int64_t parts = (rows + R - 1) / R; parts > 0; --parts) {
        const int64_t some = (rows + parts - 1) / parts;
        for (int64_t k = 0; k < depth; k += DEPTH) {
            const Matrix left{a.at + k * (TURNED ? a.line : 1), a.line}, right{b.at + k * b.line, b.line};
            product_of<R, N, TURNED>(some, left, right, c, line, std::min(DEPTH, depth - k), add || k);
        }
        rows -= some, a.at += some * (TURNED ? 1 : a.line), c += some * line;
    }
}

int64_t apart(int64_t floats) { return floats + ((48 - floats % PAGE) + PAGE) % PAGE; }  // at least so many, 48 into a page

struct Team {  // threads that share a piece of work, and the number of one of them
    int64_t rank, size;

    template <class Work>
    void each(int64_t count, Work work) const {  // and waits for the others
        for (int64_t i = count * rank / size; i < count * (rank + 1) / size; ++i) work(i);
        if (size > 1) {
#pragma omp barrier
        }
    }
};

struct Plan {  // how many teams there are, how many chunks they take in turns, and the tiles of the largest
    int64_t tiles, teams, chunks, size;

    Plan(int64_t tiles, int64_t channels, int64_t threads) : tiles(tiles) {
        teams = channels <= FEW_CHANNELS && tiles >= threads * SMALL / 2 ? threads : 1;
        const int64_t most = teams * (teams > 1 ? SMALL : tiles <= ONE ? ONE : CHUNK);
        chunks = (tiles + most - 1) / most * teams;
        size = (tiles + chunks - 1) / chunks;
    }

    Team team(Team all) const { return teams > 1 ? Team{0, 1} : all; }
    int64_t number(Team all) const { return teams > 1 ? all.rank : 0; }   // of the thread's team, which is its first chunk's
    int64_t step(Team all) const { return teams > 1 ? all.size : 1; }     // to a team's next chunk
    int64_t first(int64_t chunk) const { return tiles * chunk / chunks; }  // tile
};

// Where taps lie: u, in x out of each; v and m, the tiles of a chunk x channels, of each team.
struct Room {
    int64_t u_tap, v_line, v_tap, m_line, m_tap;
    float *u, *v, *m;

    Room(int64_t in, int64_t out, int64_t tiles, float* at)
        : u_tap(apart(in * out)), v_line(in + BLOCK), v_tap(apart(tiles * v_line)), m_line(out + BLOCK),
          m_tap(apart(tiles * m_line)), u(at), v(u + TAPS * u_tap), m(v + TAPS * v_tap) {}

    int64_t floats() const { return TAPS * (u_tap + v_tap + m_tap); }
};

struct Weight {  // floats from one to the next along each axis
    int64_t out, in, down, across;

    int64_t to(int64_t o, int64_t i, int64_t pixel) const { return o * out + i * in + pixel / 3 * down + pixel % 3 * across; }
};

typedef float Square[BLOCK][9][BLOCK];  // (in, pixel, out)

// u of each tap as panels of columns, (out / PANEL, in, PANEL); of the weight turned around if `turned`, in and out exchanged
void transform_weights(Team all, const float* w, Weight step, int64_t in, int64_t out, bool turned, const Room& room) {
    if (turned) std::swap(step.in, step.out);
    const int64_t across = in / BLOCK;
    all.each(across * (out / BLOCK), [&](int64_t block) {
        const int64_t first_out = block / across * BLOCK, first_in = block % across * BLOCK;
        alignas(64) Square square;
        for (int64_t other = 0; other < BLOCK; ++other)
            for (int64_t pixel = 0; pixel < 9; ++pixel) {
                const int64_t seen = turned ? 8 - pixel : pixel;
                if (step.out < step.in) {  // what lies side by side is read at once
                    const float* from = w + step.to(first_out, first_in + other, seen);
                    for (int64_t o = 0; o < BLOCK; ++o) square[other][pixel][o] = from[o * step.out];
                } else {
                    const float* from = w + step.to(first_out + other, first_in, seen);
                    for (int64_t i = 0; i < BLOCK; ++i) square[i][pixel][other] = from[i * step.in];
                }
            }
        for (int64_t i = 0; i < BLOCK; ++i)
            for (int64_t o = 0; o < BLOCK; o += WIDTH) {
                const int64_t column = first_out + o, panel = column / PANEL * PANEL, wide = std::min(PANEL, out - panel);
                float* to = room.u + panel * in + (first_in + i) * wide + column - panel;
                both_axes<3, 6, weight>(
                    [&](int row, int column) { return load(&square[i][row * 3 + column][o]); },
                    [&](int row, int column, Vector value) { store(to + (row * 6 + column) * room.u_tap, value); });
            }
    });
}

// dw of the gradients of u, (in, out) of each tap
void transform_weights_back(Team all, const Room& room, int64_t in, int64_t out, float* dw, Weight step) {
    const int64_t across = in / BLOCK;
    all.each(across * (out / BLOCK), [&](int64_t block) {
        const int64_t first_out = block / across * BLOCK, first_in = block % across * BLOCK;
        alignas(64) Square square;
        for (int64_t i = 0; i < BLOCK; ++i)
            for (int64_t o = 0; o < BLOCK; o += WIDTH) {
                const float* from = room.u + (first_in + i) * out + first_out + o;
                both_axes<6, 3, weight_back>(
                    [&](int row, int column) { return load(from + (row * 6 + column) * room.u_tap); },
                    [&](int row, int column, Vector value) { store(&square[i][row * 3 + column][o], value); });
            }
        for (int64_t o = 0; o < BLOCK; ++o)
            for (int64_t pixel = 0; pixel < 9; ++pixel) {
                float* to = dw + step.to(first_out + o, first_in, pixel);
                for (int64_t i = 0; i < BLOCK; ++i) to[i * step.in] = square[i][pixel][o];
            }
    });
}

}  // namespace

extern "C" {

// Floats that the functions below need in `at`.
int64_t idsnn_winograd_room(int64_t tiles, int64_t in, int64_t out, int64_t threads) {
    const Plan plan(tiles, in + out, threads);
    return plan.teams * Room(in, out, plan.size, nullptr).floats();
}

// x (count, height, width, in) -> y (count, height, width, out). `steps` are the strides of w (out, in, 3, 3). If `turned`, w
// is (in, out, 3, 3) and y the gradient of the input of the convolution with it, of whose output x is. `bias` (out) or null.
void idsnn_winograd_convolve(const float* x, const float* w, const int64_t* steps, const float* bias, float* y, float* at,
                             int64_t count, int64_t height, int64_t width, int64_t in, int64_t out, int64_t turned,
                             int64_t threads) {
    const Map from{count, height, width, in}, to{count, height, width, out};
    const Plan plan(from.tiles(), in + out, threads);
    const int64_t panels = (out + PANEL - 1) / PANEL;
#pragma omp parallel num_threads(threads)
    {
        const Team all{omp_get_thread_num(), omp_get_num_threads()}, team = plan.team(all);
        Room room(in, out, plan.size, at);
        transform_weights(all, w, {steps[0], steps[1], steps[2], steps[3]}, in, out, turned, room);
        const float* u = room.u;
        room = Room(in, out, plan.size, at + plan.number(all) * room.floats());
        for (int64_t chunk = plan.number(all); chunk < plan.chunks; chunk += plan.step(all)) {
            const int64_t first = plan.first(chunk), here = plan.first(chunk + 1) - first;
            team.each(here, [&](int64_t tile) {
                input_tile(from, x, first + tile, room.v + tile * room.v_line, room.v_tap);
            });
            team.each(TAPS * panels, [&](int64_t task) {
                const int64_t tap = task / panels, column = task % panels * PANEL;
                const Matrix a{room.v + tap * room.v_tap, room.v_line};
                const float* b = u + tap * room.u_tap + column * in;
                float* c = room.m + tap * room.m_tap + column;
                if (column + PANEL <= out)
                    products<ROWS, 2, false>(here, a, {b, PANEL}, c, room.m_line, in, false);
                else
                    products<ROWS, 1, false>(here, a, {b, WIDTH}, c, room.m_line, in, false);
            });
            team.each(here, [&](int64_t tile) {
                output_tile(to, room.m + tile * room.m_line, room.m_tap, bias, first + tile, y);
            });
        }
    }
}

// dw (out, in, 3, 3) of strides `steps` from x (count, height, width, in) and dy (count, height, width, out).
void idsnn_winograd_weight_gradient(const float* x, const float* dy, float* dw, const int64_t* steps, float* at, int64_t count,
                                    int64_t height, int64_t width, int64_t in, int64_t out, int64_t threads) {
    const Map from{count, height, width, in}, to{count, height, width, out};
    const Plan plan(from.tiles(), in + out, threads);
    constexpr int64_t SLAB = 64;  // rows of u that one task takes
    const int64_t slabs = (in + SLAB - 1) / SLAB;
#pragma omp parallel num_threads(threads)
    {
        const Team all{omp_get_thread_num(), omp_get_num_threads()}, team = plan.team(all);
        const Room everyones(in, out, plan.size, at);
        const Room room(in, out, plan.size, at + plan.number(all) * everyones.floats());
        for (int64_t chunk = plan.number(all); chunk < plan.chunks; chunk += plan.step(all)) {
            const int64_t first = plan.first(chunk), here = plan.first(chunk + 1) - first;
            team.each(here, [&](int64_t tile) {
                input_tile(from, x, first + tile, room.v + tile * room.v_line, room.v_tap);
                gradient_tile(to, dy, first + tile, room.m + tile * room.m_line, room.m_tap);
            });
            team.each(TAPS * slabs, [&](int64_t task) {
                const int64_t tap = task / slabs, row = task % slabs * SLAB, rows = std::min(SLAB, in - row);
                const Matrix a{room.v + tap * room.v_tap + row, room.v_line};
                const float* b = room.m + tap * room.m_tap;
                float* c = room.u + tap * room.u_tap + row * out;
                const bool add = chunk >= plan.step(all);
                int64_t column = 0;
                for (; column + PANEL <= out; column += PANEL)
                    products<GRADIENT_ROWS, 2, true>(rows, a, {b + column, room.m_line}, c + column, out, here, add);
                if (column < out)
                    products<GRADIENT_ROWS, 1, true>(rows, a, {b + column, room.m_line}, c + column, out, here, add);
            });
        }
#pragma omp barrier
        if (plan.teams > 1)
            all.each(TAPS * in, [&](int64_t line) {
                float* to = everyones.u + line / in * room.u_tap + line % in * out;
                for (int64_t other = 1; other < all.size; ++other)
                    for (int64_t o = 0; o < out; o += WIDTH)
                        store(to + o, load(to + o) + load(to + other * room.floats() + o));
            });
        transform_weights_back(all, everyones, in, out, dw, {steps[0], steps[1], steps[2], steps[3]});
    }
}
}
