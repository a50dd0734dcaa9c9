// Convolutional chains in the offset layout: one left example against one register of right examples.
//
// K[p, q] is kept by offset d = q - p. Within a stage (the steps between two poolings) each offset is a plane of
// its own, and its rows run through all steps of the stage as soon as they can: a row waits in a short ring
// until the filter of the next step has the rows around it. Rows that leave a stage are pooled into the planes
// of the next one, of which only two heights of offset are alive at a time. All that a pair touches
// therefore stays in cache, and the memory of a thread does not depend on the number of examples.
#pragma once

#include <cstdlib>

#include "inputs.h"

namespace {

template <class T> struct Arena {
    static constexpr int limit = 16384;
    void *blocks[limit];
    int count = 0;
    bool exhausted = false;
    Vec<T> *take(int64_t vectors, bool cleared = true) {
        void *block = nullptr;
        int64_t bytes = vectors * (int64_t)sizeof(Vec<T>);
        if (count == limit || posix_memalign(&block, 64, bytes ? bytes : 64)) {
            exhausted = true;
            return nullptr;
        }
        if (cleared) memset(block, 0, bytes);
        blocks[count++] = block;
        return (Vec<T> *)block;
    }
    ~Arena() {
        for (int i = 0; i < count; i++) free(blocks[i]);
    }
};

static constexpr int MAX_STAGES = 16, MAX_STEPS = 256;  // plan.py refuses more

template <class T> struct Chain {
    using V = Vec<T>;
    static constexpr int L = Lanes<T>::count;

    struct Level {  // rows waiting to be read by a step, or by the pooling after the last one
        V *k, *t;
        int rows;
        int32_t *place;  // of each row in the ring, in vectors
    };
    struct State {
        int radius_y, radius_x;
        int pad, stride;           // zeros on both sides of a row; vectors from row to row
        V *k, *t;                  // planes pooled into this stage: 2 heights x (2 radius_x + 1) offsets
        int next;                  // the next height of offset of the following stage to be finished
        Level levels[MAX_STEPS + 1];
        V *presum_k, *presum_t;
        RowFunction<T> functions[MAX_STEPS];
        // of the plane at work
        int dy, dx, m, n, y0, x0;
        int e, r;                  // dx = window e + r, 0 <= r < window
        V *source_k, *source_t;
    };

    const Plan &plan;
    const bool tangent, own;
    const int target;  // the stage whose input planes are wanted, n_stages for the result
    const char *left;
    const V *right;
    V result_k, result_t;
    bool input_given = false;  // in the first level of the first stage
    double sum_k[L], sum_t[L];
    State states[MAX_STAGES];
    V *zeros;
    Arena<T> arena;

    Chain(const Plan &plan, bool tangent, bool own, int target)
        : plan(plan), tangent(tangent), own(own), target(target) {
        int widest = 0;
        for (int s = (int)plan.n_stages - 1; s >= 0; s--) {
            const Stage &stage = plan.stages[s];
            State &state = states[s];
            state.pad = 0;
            for (int l = 0; l < stage.steps; l++) {
                int half = step(s, l).half_width;
                state.pad = half > state.pad ? half : state.pad;
            }
            state.stride = stage.width + 2 * state.pad;
            widest = state.stride > widest ? state.stride : widest;
            set_radius(s);
        }
        zeros = arena.take(widest);
        for (int s = 0; s <= target && s < plan.n_stages; s++) allocate(s);
    }

    const Step &step(int s, int l) const { return plan.steps[plan.stages[s].first_step + l]; }

    void set_radius(int s) {
        const Stage &stage = plan.stages[s];
        State &state = states[s];
        state.radius_y = state.radius_x = 0;
        if (s >= target || stage.end == SUM_DIAGONAL || stage.end == OUTPUT) return;
        int y = stage.height - 1, x = stage.width - 1;
        if (stage.end == AVERAGE) {
            int reach_y = stage.window_y * (states[s + 1].radius_y + 1) - 1;
            int reach_x = stage.window_x * (states[s + 1].radius_x + 1) - 1;
            y = reach_y < y ? reach_y : y;
            x = reach_x < x ? reach_x : x;
        }
        state.radius_y = y;
        state.radius_x = x;
    }

    void allocate(int s) {
        const Stage &stage = plan.stages[s];
        State &state = states[s];
        if (s > 0) {
            int64_t size = (int64_t)2 * (2 * state.radius_x + 1) * stage.height * state.stride;
            state.k = arena.take(size);
            state.t = tangent ? arena.take(size) : nullptr;
        }
        if (s == target) return;
        state.presum_k = arena.take(state.stride);
        state.presum_t = tangent ? arena.take(state.stride) : nullptr;
        for (int l = 0; l <= stage.steps; l++) {
            Level &level = state.levels[l];
            level.rows = l < stage.steps ? 2 * step(s, l).half_height + 1 : 1;
            if (s > 0 && l == 0) level.rows = 0;  // read from the planes
            level.k = arena.take((int64_t)level.rows * state.stride);
            level.t = tangent ? arena.take((int64_t)level.rows * state.stride) : nullptr;
            level.place = (int32_t *)arena.take(stage.height * sizeof(int32_t) / sizeof(V) + 1);
            for (int i = 0; i < stage.height && level.rows && level.place; i++)
                level.place[i] = i % level.rows * state.stride;
        }
        for (int l = 0; l < stage.steps; l++) {
            bool first = s == 0 && l == 0 && step(s, l).affine;
            int mode = own ? OWN : !tangent ? NNGP : first ? NTK_FIRST : NTK;
            state.functions[l] = row_function<T>(step(s, l).activation, shape_of(step(s, l)), mode);
        }
    }

    // Runs all offsets of one pair; left and right point at the examples' scalars.
    void run(const void *left_scalars, const V *right_scalars) {
        left = (const char *)left_scalars;
        right = right_scalars;
        for (int s = 0; s < plan.n_stages; s++)
            if (s + 1 < plan.n_stages) states[s].next = -states[s + 1].radius_y;
        for (int i = 0; i < L; i++) sum_k[i] = sum_t[i] = 0;
        for (int dy = -states[0].radius_y; dy <= states[0].radius_y; dy++) offsets_of_height(0, dy);
    }

    void offsets_of_height(int s, int dy) {
        const Stage &stage = plan.stages[s];
        State &state = states[s];
        for (int dx = -state.radius_x; dx <= state.radius_x; dx++) plane(s, dy, dx);
        if (stage.end == AVERAGE) {
            int radius = states[s + 1].radius_y;
            while (state.next <= radius &&
                   (dy == state.radius_y || dy >= stage.window_y * (state.next + 1) - 1)) {
                if (s + 1 < target) offsets_of_height(s + 1, state.next);
                state.next++;
            }
        } else if (stage.end != OUTPUT && dy == state.radius_y) {
            State &after = states[s + 1];
            for (int i = 0; i < L; i++) after.k[after.pad][i] = (T)sum_k[i];
            if (tangent)
                for (int i = 0; i < L; i++) after.t[after.pad][i] = (T)sum_t[i];
            for (int i = 0; i < L; i++) sum_k[i] = sum_t[i] = 0;
            if (s + 1 < target) offsets_of_height(s + 1, 0);
        }
    }

    void plane(int s, int dy, int dx) {
        const Stage &stage = plan.stages[s];
        State &state = states[s];
        state.dy = dy;
        state.dx = dx;
        state.m = stage.height - (dy < 0 ? -dy : dy);
        state.n = stage.width - (dx < 0 ? -dx : dx);
        state.y0 = dy < 0 ? -dy : 0;
        state.x0 = dx < 0 ? -dx : 0;
        state.e = dx >= 0 ? dx / stage.window_x : -((stage.window_x - 1 - dx) / stage.window_x);
        state.r = dx - stage.window_x * state.e;
        if (s > 0) {
            int64_t size = (int64_t)stage.height * state.stride;
            int64_t begin = ((dy & 1) * (2 * state.radius_x + 1) + dx + state.radius_x) * size;
            state.source_k = state.k + begin;
            state.source_t = tangent ? state.t + begin : nullptr;
        }
        for (int l = 0; l < stage.steps; l++)
            for (int r = 0; r < state.levels[l].rows; r++)
                for (int j = 0; j < state.pad; j++) {
                    int64_t at = (int64_t)r * state.stride + state.pad + state.n + j;
                    state.levels[l].k[at] = splat(T(0));
                    if (tangent) state.levels[l].t[at] = splat(T(0));
                }
        for (int i = 0; i < state.m; i++) {
            if (s == 0 && !input_given) input(i);
            available(s, 0, i);
        }
        if (s > 0) {
            size_t bytes = (size_t)state.m * state.stride * sizeof(V);
            memset(state.source_k, 0, bytes);
            if (tangent) memset(state.source_t, 0, bytes);
        }
    }

    void input(int i) {
        State &state = states[0];
        const Stage &stage = plan.stages[0];
        int64_t p = (int64_t)(state.y0 + i) * stage.width + state.x0;
        int64_t q = p + (int64_t)state.dy * stage.width + state.dx;
        V *out = state.levels[0].k + state.levels[0].place[i] + state.pad;
        const V *x = right + q * stored(plan);
        if (own)
            input_row<true, T>(left + p * stored(plan) * sizeof(V), x, plan, state.n, out);
        else
            input_row<false, T>(left + p * stored(plan) * sizeof(T), x, plan, state.n, out);
    }

    // Input row i of step l; the source of a later stage is its plane. Outside the image it is zero.
    V *row_k(int s, int l, int i) {
        State &state = states[s];
        if (i < 0 || i >= state.m) return zeros + state.pad;
        if (s > 0 && l == 0) return state.source_k + (int64_t)i * state.stride + state.pad;
        return state.levels[l].k + state.levels[l].place[i] + state.pad;
    }
    V *row_t(int s, int l, int i) {
        State &state = states[s];
        if (!tangent || i < 0 || i >= state.m) return zeros + state.pad;
        if (s > 0 && l == 0) return state.source_t + (int64_t)i * state.stride + state.pad;
        return state.levels[l].t + state.levels[l].place[i] + state.pad;
    }

    // Input row i of step l has been written: all rows that were waiting for it go on.
    void available(int s, int l, int i) {
        State &state = states[s];
        if (l == plan.stages[s].steps) return leave(s, i);
        int half = step(s, l).half_height;
        if (i >= half) advance(s, l, i - half);
        if (i == state.m - 1)
            for (int late = i < half ? 0 : i - half + 1; late <= i; late++) advance(s, l, late);
    }

    void advance(int s, int l, int i) {
        const Stage &stage = plan.stages[s];
        const Step &current = step(s, l);
        State &state = states[s];
        Row<T> row;
        if (shape_of(current) == BOX3) {
            for (int r = 0; r < 3; r++) {
                row.k[r] = row_k(s, l, i + r - 1);
                row.t[r] = row_t(s, l, i + r - 1);
            }
        } else if (current.half_height > 0) {
            sum_rows(s, l, i, row);
        } else {
            row.k[1] = row_k(s, l, i);
            row.t[1] = row_t(s, l, i);
        }
        row.k_out = row_k(s, l + 1, i);
        row.t_out = tangent ? row_t(s, l + 1, i) : nullptr;
        int64_t p = current.table + (int64_t)(state.y0 + i) * stage.width + state.x0;
        row.left = left + p * (own ? sizeof(V) : sizeof(T));
        row.right = right + p + (int64_t)state.dy * stage.width + state.dx;
        row.table_stride = (int64_t)stage.height * stage.width;
        row.left_step = row.right_step = 1;
        row.n = state.n;
        row.step = &current;
        state.functions[l](row);
        available(s, l + 1, i);
    }

    void sum_rows(int s, int l, int i, Row<T> &row) {
        State &state = states[s];
        int half = step(s, l).half_height;
        for (int j = -state.pad; j < state.n + state.pad; j++) {
            V k = row_k(s, l, i - half)[j];
            for (int r = i - half + 1; r <= i + half; r++) k = k + row_k(s, l, r)[j];
            state.presum_k[state.pad + j] = k;
            if (!tangent) continue;
            V t = row_t(s, l, i - half)[j];
            for (int r = i - half + 1; r <= i + half; r++) t = t + row_t(s, l, r)[j];
            state.presum_t[state.pad + j] = t;
        }
        row.k[1] = state.presum_k + state.pad;
        row.t[1] = tangent ? state.presum_t + state.pad : nullptr;
    }

    // Row i has passed all steps of the stage: pool it.
    void leave(int s, int i) {
        const Stage &stage = plan.stages[s];
        State &state = states[s];
        const V *k = row_k(s, stage.steps, i), *t = row_t(s, stage.steps, i);
        if (stage.end == OUTPUT) {
            result_k = k[0];
            result_t = t[0];
        } else if (stage.end == AVERAGE) {
            pool(s, i, k, t);
        } else {
            accumulate(k, state.n, sum_k);
            if (tangent) accumulate(t, state.n, sum_t);
        }
    }

    static void accumulate(const V *row, int n, double *total) {
        V sum = row[0];
        for (int j = 1; j < n; j++) sum = sum + row[j];
        for (int i = 0; i < L; i++) total[i] += sum[i];
    }

    // With d = w e + r, positions whose place in their window is below w - r belong to the pooled offset e,
    // the others to e + 1.
    void pool(int s, int i, const V *k, const V *t) {
        const Stage &stage = plan.stages[s], &coarse = plan.stages[s + 1];
        State &state = states[s], &after = states[s + 1];
        int w = stage.window_x, y = (state.y0 + i) / stage.window_y;
        int height = (state.y0 + i + state.dy) / stage.window_y - y;
        if (height > after.radius_y || height < -after.radius_y) return;
        for (int upper = 0; upper < (state.r ? 2 : 1); upper++) {
            int offset = state.e + upper, size = offset < 0 ? -offset : offset;
            if (size > after.radius_x) continue;
            int first = upper ? w - state.r : 0, end = upper ? w : w - state.r;
            int64_t slot = (height & 1) * (2 * after.radius_x + 1) + offset + after.radius_x;
            int64_t line = slot * coarse.height + y - (height < 0 ? -height : 0);
            int64_t to = line * after.stride + after.pad, from = w * (offset < 0 ? size : 0) - state.x0;
            add_windows(k + from, w, first, end, coarse.width - size, after.k + to);
            if (tangent) add_windows(t + from, w, first, end, coarse.width - size, after.t + to);
        }
    }

    static void add_windows(const V *in, int w, int first, int end, int count, V *out) {
        if (w == 2 && end - first == 2)
            for (int j = 0; j < count; j++) out[j] = out[j] + (in[2 * j] + in[2 * j + 1]);
        else if (w == 2)
            for (int j = 0; j < count; j++) out[j] = out[j] + in[2 * j + first];
        else
            for (int a = first; a < end; a++)
                for (int j = 0; j < count; j++) out[j] = out[j] + in[w * j + a];
    }
};

// Pairs of sequences of which only equal positions are needed: their input is one row, and, unless it is letters,
// `SHARED` left examples have theirs computed together.
template <class T> struct SharedInput {
    Chain<T> &chain;
    const bool possible;
    Vec<T> *rows[SHARED], *single;

    explicit SharedInput(Chain<T> &chain)
        : chain(chain),
          possible(!chain.plan.gram && chain.plan.stages[0].height == 1 && chain.states[0].radius_x == 0) {
        single = chain.states[0].levels[0].k;
        for (int i = 0; i < SHARED && possible; i++) rows[i] = chain.arena.take(chain.states[0].stride);
    }
    void compute(const T *const *left, const Vec<T> *right) {
        Vec<T> *out[SHARED];
        for (int i = 0; i < SHARED; i++) out[i] = rows[i] + chain.states[0].pad;
        input_row_shared<T>(left, right, chain.plan.channels, chain.plan.stages[0].width, out);
    }
    void use(int i) {
        chain.input_given = true;
        chain.states[0].levels[0].k = rows[i];
    }
    void use_none() {
        chain.input_given = false;
        chain.states[0].levels[0].k = single;
    }
};

// One left example, `scalars` numbers, against one register of right ones, of which `wanted` are written.
template <class T>
static void pair(Chain<T> &chain, const T *left, const Vec<T> *right, T *out, int64_t wanted) {
    T scale = (T)chain.plan.output_scale;
    chain.run(left, right);
    Vec<T> value = chain.tangent ? chain.result_t : chain.result_k;
    for (int i = 0; i < Lanes<T>::count && i < wanted; i++) out[i] = value[i] * scale;
}

}  // namespace
