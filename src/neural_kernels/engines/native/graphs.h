// Networks on graphs: covariances of the nodes of some left graphs with those of some right ones.
//
// Nodes whose neighbourhoods are the same, in the same graph or in two, have the same covariances with every
// other node. So a pack of graphs is levels of rows, each row for all such nodes: one for each distinct feature
// vector first, then, for each Aggregate, one for each distinct set of rows that a node takes from the level
// before. The pooling sums the rows of a graph's nodes. Nothing is padded but the last register of a line.
//
// Aggregate sums rows: those of one side, then, with the matrix turned round, those of the other. So each one
// exchanges rows and columns, and between two of them the layers are those of rows.h.
#pragma once

#include <utility>

#include "dense.h"

namespace {

enum AggregateFlag { AGGREGATE = 1, SELF_LOOPS = 2, DEGREE_SCALING = 4 };

// Rows of one level (graph_layout.py mirrors these structures field by field).
struct Level {
    int64_t rows;
    const int32_t *begin;    // rows + 1: where in `summand` each row begins; not for the first level
    const int32_t *summand;  // rows of the level before, in an order that does not depend on the pack
    void *tables;            // (rows / lanes, tables of the level's steps, lanes)
};

// Consecutive graphs.
struct GraphPack {
    int64_t first;  // number of the first graph
    int64_t graphs;
    const Level *levels;   // one more than there are steps with Aggregate
    const int32_t *begin;  // graphs + 1: where in `node` each graph begins
    const int32_t *node;   // the row of each node in the last level
    const void *inputs;    // (rows of the first level / lanes, channels, lanes)
    void *late_tables;     // (graphs / lanes, tables of the second stage, lanes)
};

template <class T> static int64_t registers(int64_t numbers) {
    return (numbers + Lanes<T>::count - 1) / Lanes<T>::count;
}

// Most rows of a level, and most graphs, of some packs.
struct Extent {
    int64_t rows = 0, graphs = 0;
    Extent(const GraphPack *packs, int64_t count, int levels) {
        for (const GraphPack *pack = packs; pack < packs + count; pack++) {
            graphs = pack->graphs > graphs ? pack->graphs : graphs;
            for (int l = 0; l < levels; l++) rows = pack->levels[l].rows > rows ? pack->levels[l].rows : rows;
        }
    }
};

// The steps on nodes by level, and the sizes of their tables.
struct GraphSteps {
    const Plan &plan;
    int levels = 1;                     // one more than there are Aggregates
    int level[MAX_STEPS];               // of each step
    int tables[MAX_STEPS + 1] = {};     // of all steps of each level
    int64_t first_table[MAX_STEPS + 1] = {};
    int node_tables = 0, late_tables = 0;  // of all steps before and after the pooling

    explicit GraphSteps(const Plan &plan) : plan(plan) {
        for (int l = 0; l < plan.stages[0].steps; l++) {
            if (step(0, l).aggregate) first_table[levels++] = step(0, l).table;
            level[l] = levels - 1;
            tables[level[l]] += step(0, l).tables;
            node_tables += step(0, l).tables;
        }
        for (int l = 0; l < plan.stages[1].steps; l++) late_tables += step(1, l).tables;
    }
    const Step &step(int s, int l) const { return plan.steps[plan.stages[s].first_step + l]; }
};

// The L x L entries of `v` mirrored: rows exchange ever smaller parts.
template <int distance, bool upper, class V, size_t... lane>
NK_INLINE V exchanged(V a, V b, std::index_sequence<lane...>) {
    constexpr size_t L = sizeof...(lane), d = distance;
#if defined(__clang__) || __GNUC__ >= 12
    if constexpr (upper)
        return __builtin_shufflevector(a, b, (lane & d ? L + lane : lane + d)...);
    else
        return __builtin_shufflevector(a, b, (lane & d ? L + lane - d : lane)...);
#else
    using Mask = typename Lanes<std::remove_reference_t<decltype(a[0])>>::Mask;
    return __builtin_shuffle(a, b, upper ? Mask{(lane & d ? L + lane : lane + d)...}
                                         : Mask{(lane & d ? L + lane - d : lane)...});
#endif
}

template <int distance, class T> NK_INLINE void mirror(Vec<T> *v) {
    constexpr int L = Lanes<T>::count;
    if constexpr (distance < L) {
#pragma GCC unroll 16
        for (int i = 0; i < L; i++)
            if (!(i & distance)) {
                Vec<T> a = v[i], b = v[i + distance];
                v[i] = exchanged<distance, false>(a, b, std::make_index_sequence<L>());
                v[i + distance] = exchanged<distance, true>(a, b, std::make_index_sequence<L>());
            }
        mirror<2 * distance, T>(v);
    }
}

template <class T> struct GraphChain {
    using V = Vec<T>;
    static constexpr int L = Lanes<T>::count;

    const Plan &plan;
    const GraphSteps &steps;
    const bool tangent;
    const GraphPack *down, *across;  // whose rows are the rows, and whose are the columns
    int level;                       // of both
    bool exchanged_sides;            // the rows are the right pack's
    V *k, *t;                        // the covariances of this level
    V *turned_k, *turned_t;          // half aggregated to it, with rows and columns exchanged
    V *line_k, *line_t, *block;      // one row, one row, L rows
    Arena<T> arena;

    GraphChain(const GraphSteps &steps, bool tangent, int64_t left_rows, int64_t right_rows)
        : plan(steps.plan), steps(steps), tangent(tangent) {
        int64_t left = registers<T>(left_rows), right = registers<T>(right_rows);
        int64_t longest = left > right ? left : right, size = L * (left + 1) * (right + 1);
        for (V **matrix : {&k, &turned_k}) *matrix = arena.take(size, false);
        for (V **matrix : {&t, &turned_t}) *matrix = tangent ? arena.take(size, false) : nullptr;
        line_k = arena.take(longest);
        line_t = arena.take(longest);
        block = arena.take(L * longest);
    }

    int64_t rows() const { return down->levels[level].rows; }
    int64_t vectors() const { return registers<T>(across->levels[level].rows); }
    int64_t stride() const { return stride(across->levels[level]); }
    // From row to row, with one column for each row of `columns`. Odd: rows a power of two apart share few lines
    // of the first-level cache.
    static int64_t stride(const Level &columns) { return registers<T>(columns.rows) | 1; }

    // What Aggregate makes of the rows `in`, `stride` registers apart, for n registers of row r of `to`.
    static void aggregate(const Level &to, int flags, int64_t r, const V *in, int64_t stride, int64_t n, V *out) {
        const int32_t *chosen = to.summand + to.begin[r];
        int count = to.begin[r + 1] - to.begin[r];
        V scale = splat(flags & DEGREE_SCALING && count ? T(1) / T(count) : T(1));
        int64_t j = 0;
        for (; j + 4 <= n; j += 4) {
            V sum[4] = {splat(T(0)), splat(T(0)), splat(T(0)), splat(T(0))};
            for (int i = 0; i < count; i++)
                for (int u = 0; u < 4; u++) sum[u] = sum[u] + in[chosen[i] * stride + j + u];
            for (int u = 0; u < 4; u++) out[j + u] = sum[u] * scale;
        }
        for (; j < n; j++) {
            V sum = splat(T(0));
            for (int i = 0; i < count; i++) sum = sum + in[chosen[i] * stride + j];
            out[j] = sum * scale;
        }
    }

    // Aggregates the rows of `in` to the next level, and exchanges rows and columns.
    void turn(int flags, const V *in, V *out) {
        const Level &to = down->levels[level + 1];
        int64_t n = vectors(), apart = stride(to);
        for (int64_t r = 0; r < to.rows; r += L) {
            for (int i = 0; i < L; i++)
                if (r + i < to.rows)
                    aggregate(to, flags, r + i, in, stride(), n, block + i * n);
                else
                    memset((void *)(block + i * n), 0, n * sizeof(V));
            for (int64_t j = 0; j < n; j++) {
                V v[L];
                for (int i = 0; i < L; i++) v[i] = block[i * n + j];
                mirror<1, T>(v);
                for (int i = 0; i < L; i++) out[(j * L + i) * apart + r / L] = v[i];
            }
        }
    }

    // The first half of a step's Aggregate; `line` does the second.
    void turn(const Step &step, bool with_tangent) {
        if (!step.aggregate) return;
        turn(step.aggregate, k, turned_k);
        if (with_tangent) turn(step.aggregate, t, turned_t);
        std::swap(down, across);
        exchanged_sides = !exchanged_sides;
        level++;
    }

    V *tables(const GraphPack *pack, const Step &step) const {
        return (V *)pack->levels[level].tables + (step.table - steps.first_table[level]);
    }

    // `count` registers of row r from `first` on, before the weights of `step`, with the tables that they need.
    Row<T> line(const Step &step, int64_t r, int64_t first, int64_t count, T *own, bool with_tangent) {
        Row<T> row{};
        row.k_out = k + r * stride() + first;
        row.t_out = tangent ? t + r * stride() + first : nullptr;
        row.k[1] = row.k_out;
        row.t[1] = row.t_out;
        if (step.aggregate) {
            const Level &to = down->levels[level];
            aggregate(to, step.aggregate, r, turned_k + first, stride(), count, line_k);
            if (with_tangent) aggregate(to, step.aggregate, r, turned_t + first, stride(), count, line_t);
            row.k[1] = line_k;
            row.t[1] = line_t;
        }
        const T *left = (const T *)(tables(down, step) + r / L * steps.tables[level]) + r % L;
        for (int table = 0; table < step.tables; table++) own[table] = left[table * L];
        row.left = own;
        row.right = tables(across, step) + first * steps.tables[level];
        row.table_stride = 1;
        row.right_step = steps.tables[level];
        row.n = count;
        row.step = &step;
        return row;
    }

    void begin(const GraphPack &left, const GraphPack &right) {
        down = &left;
        across = &right;
        level = 0;
        exchanged_sides = false;
        products<T>((const V *)left.inputs, 0, registers<T>(rows()) * L, (const V *)right.inputs, 0, vectors(),
                    plan.channels, plan.channels, false, k, stride());
        if (tangent && plan.stages[0].steps == 0) memset((void *)t, 0, rows() * stride() * sizeof(V));
    }

    void apply(const Step &step, int mode) {
        RowFunction<T> function = row_function<T>(step.activation, POINT, mode);
        T own[3];
        for (int64_t r = 0; r < rows(); r++) function(line(step, r, 0, vectors(), own, mode == NTK));
    }

    void run(const GraphPack &left, const GraphPack &right) {
        begin(left, right);
        for (int l = 0; l < plan.stages[0].steps; l++) {
            int mode = !tangent ? NNGP : l == 0 ? NTK_FIRST : NTK;
            turn(steps.step(0, l), mode == NTK);
            apply(steps.step(0, l), mode);
        }
    }

    // Tables of a pack's own variances: the diagonal of its covariances before each activation.
    void own_tables(const GraphPack &pack) {
        begin(pack, pack);
        for (int64_t r = 0; r < rows(); r++) {
            T &v = ((T *)(k + r * stride()))[r];
            const T *x = (const T *)((const V *)pack.inputs + r / L * plan.channels) + r % L;
            for (int64_t c = 0; c < plan.channels; c++)
                if (v < Constants<T>::smallest && x[c * L] != 0) v = underflown<T>;
        }
        for (int l = 0; l < plan.stages[0].steps; l++) {
            const Step &step = steps.step(0, l);
            Step plain = sums_of(step);
            T unused[3];
            turn(step, false);
            for (int64_t j = 0; j < vectors(); j++) block[j] = splat(T(0));
            for (int64_t r = 0; r < rows(); r++) {
                Row<T> row = line(plain, r, r / L, 1, unused, false);
                row.k_out = line_t;
                row_function<T>(IDENTITY, POINT, NNGP)(row);
                ((T *)block)[r] = (*line_t)[r % L];
            }
            for (int64_t j = 0; j < vectors(); j++)
                make_tables<T>(step, block + j, 1, tables(&pack, step) + j * steps.tables[level], 1);
            apply(step, NNGP);
        }
    }

    // Sums over the nodes of each pair of graphs, in the order of each graph's nodes; out[left][right], `width`
    // from one left graph to the next.
    void pool(const V *in, T *out, int64_t width) {
        bool mean = plan.stages[0].end == MEAN_ALL_NODES;
        for (int64_t a = 0; a < down->graphs; a++) {
            const int32_t *nodes = down->node + down->begin[a];
            int count = down->begin[a + 1] - down->begin[a];
            for (int64_t j = 0; j < vectors(); j++) {
                V sum = in[nodes[0] * stride() + j];
                for (int i = 1; i < count; i++) sum = sum + in[nodes[i] * stride() + j];
                line_k[j] = sum;
            }
            for (int64_t b = 0; b < across->graphs; b++) {
                const int32_t *others = across->node + across->begin[b];
                int number = across->begin[b + 1] - across->begin[b];
                double sum[4] = {};
                for (int i = 0; i < number; i++) sum[i % 4] += ((const T *)line_k)[others[i]];
                double total = (sum[0] + sum[1]) + (sum[2] + sum[3]);
                if (mean) total /= (double)count * number;
                out[exchanged_sides ? b * width + a : a * width + b] = (T)total;
            }
        }
    }
};

// The tables of all graphs of a pack.
template <class T> static int graph_tables(const Plan &plan, const GraphPack &pack) {
    using V = Vec<T>;
    GraphSteps steps(plan);
    Extent most(&pack, 1, steps.levels);
    int64_t n = registers<T>(pack.graphs), width = n * Lanes<T>::count;
    Arena<T> arena;
    GraphChain<T> chain(steps, false, most.rows, most.rows);
    V *pooled = arena.take(n * pack.graphs), *own = arena.take(n);
    if (arena.exhausted || chain.arena.exhausted) return 1;
    chain.own_tables(pack);
    chain.pool(chain.k, (T *)pooled, width);
    for (int64_t g = 0; g < pack.graphs; g++) ((T *)own)[g] = ((const T *)pooled)[g * width + g];
    for (int l = 0; l < plan.stages[1].steps; l++) {
        const Step &step = steps.step(1, l);
        Step plain = sums_of(step);
        V *out = (V *)pack.late_tables + step.table - steps.node_tables;
        for (int64_t j = 0; j < n; j++) {
            Row<T> row{};
            V before;
            row.k[1] = own + j;
            row.k_out = &before;
            row.n = 1;
            row.step = &plain;
            row_function<T>(IDENTITY, POINT, OWN)(row);
            make_tables<T>(step, &before, 1, out + j * steps.late_tables, 1);
            row.left = row.right = out + j * steps.late_tables;
            row.table_stride = 1;
            row.k_out = own + j;
            row.step = &step;
            row_function<T>(step.activation, POINT, OWN)(row);
        }
    }
    return 0;
}

// All pairs of a pack with each of some others, which share the work space; out[left][right].
template <class T>
static int graph_tile(const Plan &plan, bool tangent, const GraphPack &left, const GraphPack *rights, int64_t count,
                      T *out, int64_t out_stride) {
    using V = Vec<T>;
    constexpr int L = Lanes<T>::count;
    GraphSteps steps(plan);
    Extent most(rights, count, steps.levels);
    Arena<T> arena;
    GraphChain<T> chain(steps, tangent, Extent(&left, 1, steps.levels).rows, most.rows);
    V *pooled_k = arena.take(left.graphs * registers<T>(most.graphs));
    V *pooled_t = arena.take(left.graphs * registers<T>(most.graphs));
    T *own = (T *)arena.take(registers<T>(steps.late_tables));
    if (arena.exhausted || chain.arena.exhausted) return 1;
    for (const GraphPack *right = rights; right < rights + count; right++) {
        int64_t n = registers<T>(right->graphs);
        chain.run(left, *right);
        chain.pool(chain.k, (T *)pooled_k, n * L);
        if (tangent) chain.pool(chain.t, (T *)pooled_t, n * L);
        for (int64_t i = 0; i < left.graphs; i++) {
            V *k = pooled_k + i * n, *t = pooled_t + i * n;
            const T *scalars = (const T *)((const V *)left.late_tables + i / L * steps.late_tables) + i % L;
            for (int table = 0; table < steps.late_tables; table++) own[table] = scalars[table * L];
            for (int l = 0; l < plan.stages[1].steps; l++) {
                const Step &step = steps.step(1, l);
                Row<T> row{};
                row.k[1] = row.k_out = k;
                row.t[1] = row.t_out = t;
                row.left = own + (step.table - steps.node_tables);
                row.right = (const V *)right->late_tables + (step.table - steps.node_tables);
                row.table_stride = 1;
                row.right_step = steps.late_tables;
                row.n = n;
                row.step = &step;
                row_function<T>(step.activation, POINT, tangent ? NTK : NNGP)(row);
            }
            const T *value = (const T *)(tangent ? t : k);
            T *line = out + (left.first + i) * out_stride + right->first;
            for (int64_t j = 0; j < right->graphs; j++) line[j] = value[j] * (T)plan.output_scale;
        }
    }
    return 0;
}

}  // namespace
