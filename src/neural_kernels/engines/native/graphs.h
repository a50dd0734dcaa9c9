// Networks on graphs: the covariance of every node of some left graphs with every node of some right ones.
//
// A panel is a few graphs whose nodes follow each other, as many as let two panels' covariances stay in cache.
// Its nodes are the rows of such a matrix, or the columns, side by side in vector registers; only the last
// register of a panel has room left over, so that graphs of different sizes cost little more than their nodes.
// Aggregate sums rows: those of the row side, then, with the matrix turned round, those of the other side. So
// each Aggregate exchanges rows and columns, and between two of them the layers are those of rows.h.
//
// Inputs come from a table with one line for each distinct feature vector of a pack of graphs: nodes of
// molecules are of few kinds, and a product over all features is needed for each pair of kinds only.
#pragma once

#include <utility>

#include "dense.h"

namespace {

enum AggregateFlag { AGGREGATE = 1, SELF_LOOPS = 2, DEGREE_SCALING = 4 };

// Consecutive graphs, in panels (graph_layout.py mirrors this field by field).
struct GraphPack {
    int64_t first;                // number of its first graph
    int64_t graphs, panels, kinds;
    const int32_t *panel_graph;   // panels + 1: where the graphs of each panel begin
    const int32_t *panel_column;  // panels + 1: where its columns begin, a multiple of the lanes
    const int32_t *row;           // graphs: the first row of each in its panel
    const int32_t *nodes;         // graphs: how many rows it has
    const int32_t *begin;         // columns + 1: where in `neighbour` the neighbours of each node begin
    const int32_t *neighbour;     // rows in the panel; the last one of each node is the node itself
    const int32_t *kind;          // columns: which of the distinct inputs each node has
    const void *inputs;           // (kinds / lanes, channels, lanes)
    void *tables;                 // (columns / lanes, tables of the first stage, lanes)
    void *late_tables;            // (graphs / lanes, tables of the second stage, lanes)
};

template <class T> struct Panel {
    const GraphPack *pack;
    int first, last;  // its graphs
    int64_t column;
    int rows, vectors;

    Panel() = default;
    Panel(const GraphPack &pack, int64_t p) : pack(&pack) {
        first = pack.panel_graph[p];
        last = pack.panel_graph[p + 1];
        column = pack.panel_column[p];
        rows = pack.row[last - 1] + pack.nodes[last - 1];
        vectors = (pack.panel_column[p + 1] - pack.panel_column[p]) / Lanes<T>::count;
    }
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
    const bool tangent;
    int tables, late_tables;  // of all steps of the two stages
    Panel<T> rows, columns;
    bool exchanged_sides;  // the rows are the right panel's
    V *k, *t;                    // rows of `columns.vectors` registers
    V *turned_k, *turned_t;      // the same after half an Aggregate
    V *line_k, *line_t, *block;  // one row, one row, L rows
    const V *inputs;             // of the first step: a row for each kind of the left nodes
    Arena<T> arena;

    GraphChain(const Plan &plan, bool tangent, int64_t left_columns, int64_t right_columns)
        : plan(plan), tangent(tangent), tables(0), late_tables(0) {
        for (int l = 0; l < plan.stages[0].steps; l++) tables += step(0, l).tables;
        for (int l = 0; l < plan.stages[1].steps; l++) late_tables += step(1, l).tables;
        int64_t size = left_columns * right_columns / L;
        int64_t longest = (left_columns > right_columns ? left_columns : right_columns) / L;
        k = arena.take(size, false);
        turned_k = arena.take(size, false);
        t = tangent ? arena.take(size, false) : nullptr;
        turned_t = tangent ? arena.take(size, false) : nullptr;
        line_k = arena.take(longest);
        line_t = arena.take(longest);
        block = arena.take(L * longest);
    }

    const Step &step(int s, int l) const { return plan.steps[plan.stages[s].first_step + l]; }

    void begin(Panel<T> left, Panel<T> right, const V *lines) {
        rows = left;
        columns = right;
        inputs = lines;
        exchanged_sides = false;
        if (plan.stages[0].steps) return;
        int64_t n = right.vectors;
        for (int r = 0; r < left.rows; r++)
            memcpy((void *)(k + r * n), inputs + left.pack->kind[left.column + r] * n, n * sizeof(V));
        if (tangent) memset((void *)t, 0, left.rows * n * sizeof(V));
    }

    // What Aggregate makes of row r of the panel `side`, from the rows `in` of `n` registers each.
    static void aggregate(const Panel<T> &side, int flags, int r, const V *in, int64_t n, V *out) {
        const int32_t *begin = side.pack->begin + side.column + r;
        const int32_t *chosen = side.pack->neighbour + begin[0];
        int count = begin[1] - begin[0] - !(flags & SELF_LOOPS);
        V scale = splat(flags & DEGREE_SCALING && count ? T(1) / T(count) : T(1));
        int64_t j = 0;
        for (; j + 4 <= n; j += 4) {
            V sum[4] = {splat(T(0)), splat(T(0)), splat(T(0)), splat(T(0))};
            for (int i = 0; i < count; i++)
                for (int u = 0; u < 4; u++) sum[u] = sum[u] + in[chosen[i] * n + j + u];
            for (int u = 0; u < 4; u++) out[j + u] = sum[u] * scale;
        }
        for (; j < n; j++) {
            V sum = splat(T(0));
            for (int i = 0; i < count; i++) sum = sum + in[chosen[i] * n + j];
            out[j] = sum * scale;
        }
    }

    // Aggregates the rows of `in` and leaves the result with rows and columns exchanged.
    void turn(int flags, const V *in, V *out) {
        int64_t n = columns.vectors;
        for (int r = 0; r < rows.rows; r += L) {
            for (int i = 0; i < L; i++)
                if (r + i < rows.rows)
                    aggregate(rows, flags, r + i, in, n, block + i * n);
                else
                    memset((void *)(block + i * n), 0, n * sizeof(V));
            for (int64_t j = 0; j < n; j++) {
                V v[L];
                for (int i = 0; i < L; i++) v[i] = block[i * n + j];
                mirror<1, T>(v);
                for (int i = 0; i < L; i++) out[(j * L + i) * rows.vectors + r / L] = v[i];
            }
        }
    }

    // The first half of a step's Aggregate; `line` does the second.
    void turn(const Step &step, bool with_tangent) {
        if (!step.aggregate) return;
        turn(step.aggregate, k, turned_k);
        if (with_tangent) turn(step.aggregate, t, turned_t);
        std::swap(rows, columns);
        exchanged_sides = !exchanged_sides;
    }

    // Row r before the weights of `step`, with the tables that it needs.
    Row<T> line(const Step &step, bool first, int r, T *own, bool with_tangent) {
        int64_t n = columns.vectors, column = rows.column + r;
        Row<T> row{};
        row.k_out = k + r * n;
        row.t_out = tangent ? t + r * n : nullptr;
        row.k[1] = first ? inputs + rows.pack->kind[column] * n : row.k_out;
        row.t[1] = row.t_out;
        if (step.aggregate) {
            aggregate(rows, step.aggregate, r, turned_k, n, line_k);
            if (with_tangent) aggregate(rows, step.aggregate, r, turned_t, n, line_t);
            row.k[1] = line_k;
            row.t[1] = line_t;
        }
        const T *left = (const T *)((const V *)rows.pack->tables + column / L * tables + step.table) + column % L;
        for (int table = 0; table < step.tables; table++) own[table] = left[table * L];
        row.left = own;
        row.right = (const V *)columns.pack->tables + columns.column / L * tables + step.table;
        row.table_stride = 1;
        row.right_step = tables;
        row.n = n;
        row.step = &step;
        return row;
    }

    void apply(const Step &step, bool first, int mode) {
        RowFunction<T> function = row_function<T>(step.activation, POINT, mode);
        T own[3];
        for (int r = 0; r < rows.rows; r++) function(line(step, first, r, own, mode == NTK));
    }

    void run() {
        for (int l = 0; l < plan.stages[0].steps; l++) {
            int mode = !tangent ? NNGP : l == 0 ? NTK_FIRST : NTK;
            turn(step(0, l), mode == NTK);
            apply(step(0, l), l == 0, mode);
        }
    }

    // Tables of the panel's own variances: the diagonal of its covariance before each activation.
    void own_tables(Panel<T> panel, const V *lines) {
        begin(panel, panel, lines);
        V *out = (V *)panel.pack->tables + panel.column / L * tables;
        for (int l = 0; l < plan.stages[0].steps; l++) {
            const Step &current = step(0, l);
            Step plain = current;
            plain.normalised = plain.tables = 0;
            T unused[3];
            turn(current, false);
            for (int j = 0; j < panel.vectors; j++) block[j] = splat(T(0));
            for (int r = 0; r < panel.rows; r++) {
                Row<T> row = line(plain, l == 0, r, unused, false);
                row.k_out = line_t;
                row_function<T>(IDENTITY, POINT, NNGP)(row);
                ((T *)block)[r] = ((const T *)line_t)[r];
            }
            for (int j = 0; j < panel.vectors; j++)
                make_tables<T>(current, block + j, 1, out + j * tables + current.table, 1);
            apply(current, l == 0, NNGP);
        }
    }

    // Sums over the nodes of each pair of graphs, in an order that does not depend on their place in a panel;
    // out[left graph][right graph], `width` from one left graph to the next.
    void pool(const V *in, T *out, int64_t width) {
        const GraphPack &across = *columns.pack, &down = *rows.pack;
        bool mean = plan.stages[0].end == MEAN_ALL_NODES;
        for (int a = rows.first; a < rows.last; a++) {
            const V *begin = in + (int64_t)down.row[a] * columns.vectors;
            for (int j = 0; j < columns.vectors; j++) {
                V sum = begin[j];
                for (int r = 1; r < down.nodes[a]; r++) sum = sum + begin[(int64_t)r * columns.vectors + j];
                line_k[j] = sum;
            }
            for (int b = columns.first; b < columns.last; b++) {
                const T *part = (const T *)line_k + across.row[b];
                double total = 0;
                for (int c = 0; c < across.nodes[b]; c++) total += part[c];
                if (mean) total /= (double)down.nodes[a] * across.nodes[b];
                out[exchanged_sides ? b * width + a : a * width + b] = (T)total;
            }
        }
    }
};

// What some packs take at most.
struct Extent {
    int64_t columns = 0, kinds = 0, graphs = 0;  // of a panel; of a pack
    Extent(const GraphPack *packs, int64_t count) {
        auto widen = [](int64_t &most, int64_t size) { most = size > most ? size : most; };
        for (const GraphPack *pack = packs; pack < packs + count; pack++) {
            widen(kinds, pack->kinds);
            widen(graphs, pack->graphs);
            for (int64_t p = 0; p < pack->panels; p++)
                widen(columns, pack->panel_column[p + 1] - pack->panel_column[p]);
        }
    }
};

// The inputs' covariances of two packs: of all kinds of nodes, then for one panel of right nodes after the other.
template <class T> struct Inputs {
    using V = Vec<T>;
    static constexpr int L = Lanes<T>::count;
    const Plan &plan;
    const GraphPack &left;
    const GraphPack *right;
    int64_t rows, groups;
    V *of_kinds, *lines;

    Inputs(const Plan &plan, const GraphPack &left, Extent most, Arena<T> &arena)
        : plan(plan), left(left), rows((left.kinds + L - 1) / L * L) {
        of_kinds = arena.take(rows * ((most.kinds + L - 1) / L), false);
        lines = arena.take(left.kinds * most.columns / L, false);
    }

    void against(const GraphPack &other) {
        right = &other;
        groups = (other.kinds + L - 1) / L;
        products<T>((const V *)left.inputs, 0, rows, (const V *)other.inputs, 0, groups, plan.channels, plan.channels,
                    false, of_kinds);
    }

    // Rows, one for each kind of the left nodes, of the covariances with the nodes of a right panel.
    const V *panel(int64_t p) {
        int64_t begin = right->panel_column[p], n = right->panel_column[p + 1] - begin;
        const int32_t *kinds = right->kind + begin;
        for (int64_t i = 0; i < left.kinds; i++) {
            const T *line = (const T *)(of_kinds + i * groups);
            T *out = (T *)lines + i * n;
            for (int64_t c = 0; c < n; c++) out[c] = line[kinds[c]];
        }
        return lines;
    }
};

// The tables of all graphs of a pack.
template <class T> static int graph_tables(const Plan &plan, const GraphPack &pack) {
    using V = Vec<T>;
    constexpr int L = Lanes<T>::count;
    int64_t n = (pack.graphs + L - 1) / L;
    Extent most(&pack, 1);
    Arena<T> arena;
    GraphChain<T> chain(plan, false, most.columns, most.columns);
    // Pairs of graphs of one panel are pooled, their own ones are kept.
    V *pooled = arena.take(n * pack.graphs), *own = arena.take(n);
    Inputs<T> inputs(plan, pack, most, arena);
    if (arena.exhausted || chain.arena.exhausted) return 1;
    inputs.against(pack);
    for (int64_t p = 0; p < pack.panels; p++) {
        chain.own_tables(Panel<T>(pack, p), inputs.panel(p));
        chain.pool(chain.k, (T *)pooled, n * L);
    }
    for (int64_t g = 0; g < pack.graphs; g++) ((T *)own)[g] = ((const T *)pooled)[g * n * L + g];
    for (int l = 0; l < plan.stages[1].steps; l++) {
        const Step &step = chain.step(1, l);
        Step plain = step;
        plain.normalised = 0;
        V *out = (V *)pack.late_tables + step.table - chain.tables;
        for (int64_t j = 0; j < n; j++) {
            Row<T> row{};
            V before;
            row.k[1] = own + j;
            row.k_out = &before;
            row.n = 1;
            row.step = &plain;
            row_function<T>(IDENTITY, POINT, OWN)(row);
            make_tables<T>(step, &before, 1, out + j * chain.late_tables, 1);
            row.left = row.right = out + j * chain.late_tables;
            row.table_stride = 1;
            row.k_out = own + j;
            row.step = &step;
            row_function<T>(step.activation, POINT, OWN)(row);
        }
    }
    return 0;
}

// All pairs of a pack with each of some others, out[left][right]; where the first of them is the pack itself, only
// those on and above its diagonal. Several at a time share the work space.
template <class T>
static int graph_tile(const Plan &plan, bool tangent, const GraphPack &left, const GraphPack *rights, int64_t count,
                      bool triangle, T *out, int64_t out_stride) {
    using V = Vec<T>;
    constexpr int L = Lanes<T>::count;
    Extent most(rights, count);
    Arena<T> arena;
    GraphChain<T> chain(plan, tangent, Extent(&left, 1).columns, most.columns);
    Inputs<T> inputs(plan, left, most, arena);
    int64_t room = left.graphs * ((most.graphs + L - 1) / L);
    V *pooled_k = arena.take(room), *pooled_t = arena.take(room);
    T *own = (T *)arena.take(chain.late_tables / L + 1);
    if (arena.exhausted || chain.arena.exhausted) return 1;
    for (const GraphPack *right = rights; right < rights + count; right++) {
        int64_t n = (right->graphs + L - 1) / L;
        bool same = triangle && right == rights;
        inputs.against(*right);
        for (int64_t q = 0; q < right->panels; q++) {
            const V *lines = inputs.panel(q);
            for (int64_t p = 0; p < (same ? q + 1 : left.panels); p++) {
                chain.begin(Panel<T>(left, p), Panel<T>(*right, q), lines);
                chain.run();
                chain.pool(chain.k, (T *)pooled_k, n * L);
                if (tangent) chain.pool(chain.t, (T *)pooled_t, n * L);
            }
        }
        for (int64_t i = 0; i < left.graphs; i++) {
            V *k = pooled_k + i * n, *t = pooled_t + i * n;
            const T *scalars = (const T *)((const V *)left.late_tables + i / L * chain.late_tables) + i % L;
            for (int table = 0; table < chain.late_tables; table++) own[table] = scalars[table * L];
            for (int l = 0; l < plan.stages[1].steps; l++) {
                const Step &step = chain.step(1, l);
                Row<T> row{};
                row.k[1] = row.k_out = k;
                row.t[1] = row.t_out = t;
                row.left = own + (step.table - chain.tables);
                row.right = (const V *)right->late_tables + (step.table - chain.tables);
                row.table_stride = 1;
                row.right_step = chain.late_tables;
                row.n = n;
                row.step = &step;
                row_function<T>(step.activation, POINT, tangent ? NTK : NNGP)(row);
            }
            const T *value = (const T *)(tangent ? t : k);
            T *line = out + (left.first + i) * out_stride + right->first;
            for (int64_t j = same ? i : 0; j < right->graphs; j++) line[j] = value[j] * (T)plan.output_scale;
        }
    }
    return 0;
}

}  // namespace
