"""Measures shapes of one cross-encoder's graph against each other in ONNX Runtime on this machine.

    python tests/bench/graphs.py MODEL.onnx GOLDEN_DIR [--only fp32|int8] [--variants 'a;b'] [--reps N] [--pairs N]

MODEL.onnx is a dynamically quantised BERT cross-encoder as the catalogue's default model is; GOLDEN_DIR holds
tokens.jsonl and golden-fp32.jsonl. Every variant is built from the same dequantised (fp32) or original (int8) weights,
runs one pair a forward at its exact length on one thread, and is timed in CPU time of that thread, variants interleaved
pair by pair, so that a busy machine slows all alike. Printed: median of the ratios to the first variant, the distance of
logits to the golden fp32, and whether a pair alone is bit-equal to the same pair in a batch of equal lengths.
"""

import argparse, collections, json, os, random, statistics, sys, time
import numpy as np, onnx, onnxruntime as ort
from onnx import TensorProto as T, helper as H, numpy_helper as N

Layer = collections.namedtuple("Layer", "q k v o ln1 up down ln2")
MS = "com.microsoft"


class Dense:
    """y = x @ w + b; `i8` and `scale` where the source is quantised."""

    def __init__(self, w, b, i8=None, scale=None):
        self.w, self.b, self.i8, self.scale = w, b, i8, scale


def read(path):
    m = onnx.load(path)
    init = {t.name: N.to_array(t) for t in m.graph.initializer}
    made = {o: n for n in m.graph.node for o in n.output}

    def dense(bias):
        for n in m.graph.node:
            if n.op_type == "Add" and bias in n.input:
                other = [i for i in n.input if i != bias][0]
                mul = made[other]
                mmi = made[made[mul.input[0]].input[0]]
                i8 = init[mmi.input[1]]
                s = init[mmi.input[1].replace("_quantized", "_scale")]
                return Dense(i8.astype(np.float32) * s, init[bias], i8, s)

    def table(name):
        return init[name + "_quantized"].astype(np.float32) * init[name + "_scale"]

    ln = lambda p: (init[p + ".LayerNorm.weight"], init[p + ".LayerNorm.bias"])
    layers = []
    while f"bert.encoder.layer.{len(layers)}.attention.self.query.bias" in init:
        p = f"bert.encoder.layer.{len(layers)}"
        a = p + ".attention"
        layers.append(Layer(dense(a + ".self.query.bias"), dense(a + ".self.key.bias"), dense(a + ".self.value.bias"),
                            dense(a + ".output.dense.bias"), ln(a + ".output"), dense(p + ".intermediate.dense.bias"),
                            dense(p + ".output.dense.bias"), ln(p + ".output")))
    e = "bert.embeddings."
    return dict(word=table(e + "word_embeddings.weight"), type=table(e + "token_type_embeddings.weight"),
                pos=table(e + "position_embeddings.weight"), ln=ln("bert.embeddings"), layers=layers,
                pool=dense("bert.pooler.dense.bias"), cls=dense("classifier.bias"))


class Builder:
    def __init__(self, model, **o):
        self.m, self.nodes, self.init, self.n = model, [], {}, 0
        d = dict(qkv="fused", attn="plain", ln="op", gelu="ms", mask=False, cls=True, flat=False, quant=None, layers=12,
                 act="dyn", fold=True, slots=0, absorb=False, rowmitf=False, stats=None, fp32=(), eps=1e-12, bits=8, signed=False,
                 smooth=None, columns=False)
        d.update(o)
        self.o = type("O", (), d)

    def c(self, a, name=None):
        a = np.asarray(a)
        name = name or f"c{a.dtype}_{a.shape}_{a.tobytes().hex()}" if a.size <= 8 else name or f"w{len(self.init)}"
        self.init[name] = a
        return name

    def op(self, kind, *ins, domain="", n=1, **attrs):
        self.n += 1
        outs = [f"v{self.n}_{i}" for i in range(n)]
        self.nodes.append(H.make_node(kind, list(ins), outs, f"{kind}_{self.n}", domain=domain, **attrs))
        return outs[0] if n == 1 else outs

    # --- products -----------------------------------------------------------------------------------------------
    def dense(self, x, d, tag, bias=True, xq=None):
        q = self.o.quant
        if q is None or d.i8 is None or tag in self.o.fp32 or tag.split(".")[-1] in self.o.fp32:
            if self.o.flat:
                return self.op("Gemm", x, self.c(d.w), *([self.c(d.b)] if bias else []))
            y = self.op("MatMul", x, self.c(d.w))
            return self.op("Add", y, self.c(d.b)) if bias else y
        if q == "nbits8":
            return self.nbits(x, d, bias)
        w = d.i8
        zp = np.int8(0)
        if q == "u8":
            w, zp = (w.astype(np.int16) + 128).astype(np.uint8), np.uint8(128)
        if q == "s8pc" or self.o.bits < 8 or self.o.smooth:  # requantised from the fp32 weights
            full, most = d.w, 2 ** (self.o.bits - 1) - 1
            if self.o.smooth:
                full = full * self.smoothing(tag)[:, None]
            s = np.abs(full).max(0 if q == "s8pc" else None) / most
            w = np.clip(np.round(full / s), -most, most).astype(np.int8)
            scale = np.asarray(s, np.float32)
        else:
            scale = np.asarray(d.scale, np.float32)
        if self.o.act == "row":
            return self.row(x, w, zp, scale, d.b, xq)
        if self.o.act == "static":
            a = xq or self.staticq(x, tag)
            ws = self.c(scale)
            return self.op("MatMulIntegerToFloat", a[0], self.c(w), a[1], ws, a[2], self.c(zp), self.c(d.b), domain=MS)
        if self.o.act == "dqmm":
            return self.op("DynamicQuantizeMatMul", x, self.c(w), self.c(scale), self.c(zp), self.c(d.b), domain=MS)
        a, s, z = xq or self.op("DynamicQuantizeLinear", x, n=3)
        if self.o.act == "mitf":
            return self.op("MatMulIntegerToFloat", a, self.c(w), s, self.c(scale), z, self.c(zp), self.c(d.b), domain=MS)
        y = self.op("MatMulInteger", a, self.c(w), z, self.c(zp))
        y = self.op("Mul", self.op("Cast", y, to=T.FLOAT), self.op("Mul", s, self.c(scale)))
        return self.op("Add", y, self.c(d.b))

    def smoothing(self, tag):
        """What every column of a product's input is divided by, and its row of the weights multiplied by (SmoothQuant)."""
        i, kind = tag.split(".")
        l = self.m["layers"][int(i)]
        rows = np.max([np.abs(d.w).max(1) for d in ((l.q, l.k, l.v) if kind == "qkv" else (getattr(l, kind),))], 0)
        columns = np.abs(self.o.stats[tag + ":columns"]).max(0)
        alpha = self.o.smooth
        return (np.maximum(columns, 1e-5) ** alpha / np.maximum(rows, 1e-5) ** (1 - alpha)).astype(np.float32)

    def staticq(self, x, tag):
        lo, hi = self.o.stats[tag]
        if self.o.smooth:
            by = self.smoothing(tag)
            ends = self.o.stats[tag + ":columns"] / by
            lo, hi = min(ends[0].min(), 0), max(ends[1].max(), 0)
            s = np.float32((hi - lo) / 255)
            z = np.uint8(np.clip(round(-lo / s), 0, 255))
            if self.o.columns:  # a scale a column in the quantising operator
                q = self.op("QuantizeLinear", x, self.c(s * by), self.c(np.full(by.size, z, np.uint8)), axis=-1)
            else:
                q = self.op("QuantizeLinear", self.op("Mul", x, self.c(1 / by)), self.c(s), self.c(z))
            return q, self.c(s), self.c(z)
        if self.o.signed:
            s = np.float32(max(-lo, hi) / 127)
            return self.op("QuantizeLinear", x, self.c(s), self.c(np.int8(0))), self.c(s), self.c(np.int8(0))
        s = np.float32((max(hi, 0) - min(lo, 0)) / 255)
        z = np.uint8(np.clip(round(-min(lo, 0) / s), 0, 255))
        return self.op("QuantizeLinear", x, self.c(s), self.c(z)), self.c(s), self.c(z)

    def row(self, x, w, zp, scale, b, xq):
        """One symmetric scale a token: the score then depends on nothing but the pair."""
        q, s = xq or self.rowq(x)
        if self.o.rowmitf:
            one = self.c(np.float32(1))
            y = self.op("MatMulIntegerToFloat", q, self.c(w), one, self.c(scale), self.c(np.uint8(128)), self.c(zp), domain=MS)
            return self.op("Add", self.op("Mul", y, s), self.c(b))
        y = self.op("Cast", self.op("MatMulInteger", q, self.c(w), self.c(np.uint8(128)), self.c(zp)), to=T.FLOAT)
        y = self.op("Mul", y, s)
        if scale.ndim:
            y = self.op("Mul", y, self.c(scale))
        else:
            y = self.op("Mul", y, self.c(scale))
        return self.op("Add", y, self.c(b))

    def rowq(self, x):
        if self.o.rowmitf:
            ax = self.c(np.int64([-1]))
            hi, lo = self.op("ReduceMax", x, ax, keepdims=1), self.op("ReduceMin", x, ax, keepdims=1)
            m = self.op("Max", hi, self.op("Neg", lo))
            s = self.op("Max", self.op("Mul", m, self.c(np.float32(1 / 127))), self.c(np.float32(1e-30)))
            y = self.op("Mul", x, self.op("Reciprocal", s))
            return self.op("QuantizeLinear", y, self.c(np.float32(1)), self.c(np.uint8(128))), s
        m = self.op("ReduceMax", self.op("Abs", x), self.c(np.int64([-1])), keepdims=1)
        s = self.op("Max", self.op("Mul", m, self.c(np.float32(1 / 127))), self.c(np.float32(1e-30)))
        y = self.op("Div", x, s)
        return self.op("QuantizeLinear", y, self.c(np.float32(1)), self.c(np.uint8(128))), s

    def nbits(self, x, d, bias):
        k, n = d.w.shape
        if n % 16:
            y = self.op("MatMul", x, self.c(d.w))
            return self.op("Add", y, self.c(d.b))
        bs = self.o.block
        blocks = d.w.T.reshape(n, k // bs, bs)
        s = np.maximum(np.abs(blocks).max(-1), 1e-12) / 127
        q = (np.clip(np.round(blocks / s[..., None]), -128, 127) + 128).astype(np.uint8)
        return self.op("MatMulNBits", x, self.c(q), self.c(s.astype(np.float32)), "", "", self.c(d.b), domain=MS, K=k,
                       N=n, bits=8, block_size=bs, accuracy_level=4)

    # --- norms and activations --------------------------------------------------------------------------------------
    def norm(self, x, residual, ln):
        o = self.o
        if o.ln == "skip" and residual:
            return self.op("SkipLayerNormalization", x, residual, self.c(ln[0]), self.c(ln[1]), domain=MS, epsilon=o.eps)
        if residual:
            x = self.op("Add", x, residual)
        if o.ln == "decomposed":
            d = self.op("Sub", x, self.op("ReduceMean", x, self.c(np.int64([-1]))))
            v = self.op("ReduceMean", self.op("Pow", d, self.c(np.float32(2))), self.c(np.int64([-1])))
            y = self.op("Div", d, self.op("Sqrt", self.op("Add", v, self.c(np.float32(o.eps)))))
            return self.op("Add", self.op("Mul", y, self.c(ln[0])), self.c(ln[1]))
        return self.op("LayerNormalization", x, self.c(ln[0]), self.c(ln[1]), axis=-1, epsilon=o.eps)

    def act(self, x, d, tag):
        g = self.o.gelu
        if g == "biasgelu":
            return self.op("BiasGelu", self.dense(x, d, tag, bias=False), self.c(d.b), domain=MS)
        if g == "biasfast":
            return self.op("FastGelu", self.dense(x, d, tag, bias=False), self.c(d.b), domain=MS)
        y = self.dense(x, d, tag)
        if g == "ms":
            return self.op("Gelu", y, domain=MS)
        if g == "fast":
            return self.op("FastGelu", y, domain=MS)
        if g == "op":
            return self.op("Gelu", y)
        if g == "relu":
            return self.op("Relu", y)
        e = self.op("Add", self.op("Erf", self.op("Div", y, self.c(np.float32(2**0.5)))), self.c(np.float32(1)))
        return self.op("Mul", self.op("Mul", y, e), self.c(np.float32(0.5)))

    # --- layers ----------------------------------------------------------------------------------------------------
    def first(self, x):
        if self.o.slots:
            return self.op("Gather", x, self.starts, axis=0)
        return self.firstrow(x)

    def firstrow(self, x):
        """The [CLS] row of [B, S, H], as [B, 1, H]; of flat tokens, as [B, H]."""
        if self.o.flat:
            return self.op("Gather", self.deep(x), self.c(np.int64(0)), axis=1)
        return self.op("Slice", x, self.c(np.int64([0])), self.c(np.int64([1])), self.c(np.int64([1])))

    def deep(self, x, one=False):
        """Flat tokens as [B, S, H]."""
        if not self.o.flat:
            return x
        return self.op("Unsqueeze", x, self.c(np.int64([1]))) if one else self.op("Reshape", x, self.deepshape)

    def shallow(self, x):
        return self.op("Reshape", x, self.c(np.int64([-1, self.m["ln"][0].size]))) if self.o.flat else x

    def absorbed(self, h, l):
        """Attention of the [CLS] row alone: the key and value products move from every token to that one row."""
        o = self.o
        hd, n = l.q.w.shape[0], o.heads
        d = hd // n
        ints = lambda *v: self.c(np.int64(v))
        wk = l.k.w.reshape(hd, n, d).transpose(1, 2, 0) * np.float32(d**-0.5)  # [heads, d, H]
        wv = l.v.w.reshape(hd, n, d).transpose(1, 0, 2)  # [heads, H, d]
        x = self.clsrows(h)  # [B, H]
        q = self.op("Add", self.op("MatMul", x, self.c(l.q.w)), self.c(l.q.b))
        u = self.op("MatMul", self.op("Reshape", q, ints(-1, n, 1, d)), self.c(np.ascontiguousarray(wk)))
        u = self.op("Reshape", u, ints(-1, n, hd))
        one = lambda u, h: self.op("MatMul", self.op("Softmax", self.op("FusedMatMul", u, h, domain=MS, transB=1), axis=-1), h)
        if o.slots:
            us = self.op("Split", u, axis=0, num_outputs=o.slots, n=o.slots)
            c = self.op("Concat", *[one(a, b) for a, b in zip(us, self.slots(self.op("Unsqueeze", h, ints(0))))], axis=0)
        else:
            c = one(u, h)
        y = self.op("MatMul", self.op("Reshape", c, ints(-1, n, 1, hd)), self.c(np.ascontiguousarray(wv)))
        return x, self.op("Add", self.op("Reshape", y, ints(-1, hd)), self.c(l.v.b))

    def slots(self, x):
        return self.op("Split", x, self.lengths, axis=1, n=self.o.slots)

    def clsrows(self, h):
        if self.o.slots:
            return self.op("Gather", h, self.starts, axis=0)
        return self.op("Gather", h, self.c(np.int64(0)), axis=1)

    def attention(self, h, l, i, last):
        o = self.o
        if o.slots:
            t = f"{i}.qkv"
            q = self.op("Gather", h, self.starts, axis=0) if last else None
            shared = self.rowq(h) if o.quant and o.act == "row" else self.staticq(h, t) if o.quant else None
            ys = [self.slots(self.op("Unsqueeze", self.dense(h, a, t, xq=shared), self.c(np.int64([0])))) for a in (l.q, l.k, l.v)[last:]]
            if last:
                y = self.op("Unsqueeze", self.dense(q, l.q, t), self.c(np.int64([0])))
                ys = [self.op("Split", y, axis=1, num_outputs=o.slots, n=o.slots), *ys]
            if o.attn == "mha":
                y = [self.op("MultiHeadAttention", *z, domain=MS, num_heads=o.heads) for z in zip(*ys)]
            else:
                y = [self.op("Attention", *z, q_num_heads=o.heads, kv_num_heads=o.heads) for z in zip(*ys)]
            return self.op("Reshape", self.op("Concat", *y, axis=1), self.c(np.int64([-1, l.q.w.shape[0]])))
        hd, heads = l.q.w.shape[0], o.heads
        d = hd // heads
        s = np.float32(d**-0.5)
        quant = o.quant is not None
        fold = o.fold and not quant
        q = Dense(l.q.w * s, l.q.b * s) if fold else l.q
        t = f"{i}.qkv"
        if o.attn == "attention":
            w = np.concatenate([l.q.w, l.k.w, l.v.w], 1)
            b = np.concatenate([l.q.b, l.k.b, l.v.b])
            y = self.op("Attention", h, self.c(w), self.c(b), domain=MS, num_heads=heads)
            return self.first(y) if last else y
        if o.attn in ("mha", "attn23"):
            x = self.first(h) if last else h
            bias = o.attn != "mha" or quant
            shared = None
            if quant and o.act == "row":
                shared = self.rowq(h)
            elif quant and o.act in ("dyn", "mitf"):
                shared = self.op("DynamicQuantizeLinear", h, n=3)
            elif quant and o.act == "static":
                shared = self.staticq(h, t)
            ys = [self.dense(a, b, t, bias=bias or o.flat, xq=None if a != h else shared) for a, b in ((x, l.q), (h, l.k), (h, l.v))]
            ys = [self.deep(y, one=last and n == 0) for n, y in enumerate(ys)]
            if o.attn == "attn23":
                return self.shallow(self.op("Attention", *ys, q_num_heads=heads, kv_num_heads=heads))
            b = [] if bias or o.flat else [self.c(np.concatenate([l.q.b, l.k.b, l.v.b]))]
            return self.shallow(self.op("MultiHeadAttention", *ys, *b, domain=MS, num_heads=heads))
        shape = self.c(np.int64([0, 0, heads, d]))
        split = lambda y: self.op("Transpose", self.op("Reshape", self.deep(y), shape), perm=[0, 2, 1, 3])
        cat = lambda ds: Dense(np.concatenate([x.w for x in ds], 1), np.concatenate([x.b for x in ds]),
                               np.concatenate([x.i8 for x in ds], 1) if ds[0].i8 is not None and not fold else None,
                               np.concatenate([np.full(len(x.b), x.scale, np.float32) for x in ds]) if not fold else None)
        shared = None
        if quant and o.act == "row":
            shared = self.rowq(h)
        elif quant and o.act in ("dyn", "mitf"):
            shared = self.op("DynamicQuantizeLinear", h, n=3)
        if o.qkv == "fused" and not (last and o.cls):
            y = self.dense(h, cat([q, l.k, l.v]), t, xq=shared)
            if o.split == "before":
                a, b, c = (split(z) for z in self.op("Split", y, axis=-1, num_outputs=3, n=3))
            else:
                y = self.op("Transpose", self.op("Reshape", y, self.c(np.int64([0, 0, 3 * heads, d]))), perm=[0, 2, 1, 3])
                a, b, c = self.op("Split", y, axis=1, num_outputs=3, n=3)
        elif o.qkv == "fused":
            a = split(self.dense(self.first(h), q, f"{i}.qkv"))
            y = self.dense(h, cat([l.k, l.v]), t, xq=shared)
            y = self.op("Transpose", self.op("Reshape", y, self.c(np.int64([0, 0, 2 * heads, d]))), perm=[0, 2, 1, 3])
            b, c = self.op("Split", y, axis=1, num_outputs=2, n=2)
        else:
            x = self.first(h) if last and o.cls else h
            a = split(self.dense(x, q, t, xq=None if last and o.cls else shared))
            b, c = split(self.dense(h, l.k, t, xq=shared)), split(self.dense(h, l.v, t, xq=shared))
        if o.attn == "fusedmatmul":
            p = self.op("FusedMatMul", a, b, domain=MS, transB=1, alpha=float(1 if fold else s))
        else:
            p = self.op("MatMul", a, self.op("Transpose", b, perm=[0, 1, 3, 2]))
            if not fold:
                p = self.op("Mul", p, self.c(s))
        if o.mask:
            p = self.op("Add", p, self.maskv)
        y = self.op("MatMul", self.op("Softmax", p, axis=-1), c)
        return self.op("Reshape", self.op("Transpose", y, perm=[0, 2, 1, 3]), self.c(np.int64([0, 0, hd])))

    def build(self):
        o, m = self.o, self.m
        o.heads = getattr(o, "heads", 12)
        o.split = getattr(o, "split", "after")
        o.block = getattr(o, "block", 32)
        if o.slots:
            pos = self.op("Gather", self.c(m["pos"]), "position_ids")
            self.lengths = "lengths"
            self.starts = self.op("CumSum", "lengths", self.c(np.int64(0)), exclusive=1)
        else:
            s = self.op("Shape", "input_ids", start=1, end=2)
            pos = self.op("Slice", self.c(m["pos"]), self.c(np.int64([0])), s, self.c(np.int64([0])))
        x = self.op("Add", self.op("Gather", self.c(m["word"]), "input_ids"), self.op("Gather", self.c(m["type"]), "token_type_ids"))
        h = self.norm(self.op("Add", x, pos), None, m["ln"])
        if o.flat and not o.slots:
            self.deepshape = self.op("Concat", self.op("Shape", "input_ids"), self.c(np.int64([m["ln"][0].size])), axis=0)
            h = self.shallow(h)
        if o.mask:
            a = self.op("Cast", self.op("Unsqueeze", "attention_mask", self.c(np.int64([1, 2]))), to=T.FLOAT)
            self.maskv = self.op("Mul", self.op("Sub", self.c(np.float32(1)), a), self.c(np.float32(-3.4e38)))
        for i, l in enumerate(m["layers"][: o.layers]):
            last = o.cls and i == o.layers - 1
            if last and o.absorb:
                o.quant = None
                h, y = self.absorbed(self.deep(h) if o.flat and not o.slots else h, l)
            else:
                y = self.attention(h, l, i, last)
                if last:
                    h = self.first(h)
            h = self.norm(self.dense(y, l.o, f"{i}.o"), h, l.ln1)
            y = self.act(h, l.up, f"{i}.up")
            h = self.norm(self.dense(y, l.down, f"{i}.down"), h, l.ln2)
        if not o.flat and not o.absorb:
            h = self.op("Gather", h, self.c(np.int64(0)), axis=1)
        o.quant = None  # the head is two small products: left in fp32
        h = self.op("Tanh", self.dense(h, m["pool"], "pool"))
        y = self.dense(h, m["cls"], "cls")
        self.nodes[-1].output[0] = "logits"
        dims = ["batch", "sequence"]
        ins = ["input_ids", "token_type_ids"] + (["attention_mask"] if o.mask else [])
        ins = [H.make_tensor_value_info(n, T.INT64, dims) for n in ins]
        if o.slots:
            names = "input_ids", "token_type_ids", "position_ids"
            ins = [H.make_tensor_value_info(n, T.INT64, ["tokens"]) for n in names]
            ins.append(H.make_tensor_value_info("lengths", T.INT64, [o.slots]))
        g = H.make_graph(self.nodes, "g", ins,
                         [H.make_tensor_value_info("logits", T.FLOAT, ["batch", 1])],
                         [N.from_array(np.ascontiguousarray(a), n) for n, a in self.init.items()])
        m = H.make_model(g, ir_version=10, opset_imports=[H.make_opsetid("", getattr(o, "opset", 21)), H.make_opsetid(MS, 1)])
        return m.SerializeToString()


FP32 = {
    "plain": dict(qkv="split", ln="decomposed", gelu="erf", mask=True, cls=False, fold=False),
    "plain+cls": dict(qkv="split", ln="decomposed", gelu="erf", mask=True, fold=False),
    "cls+ops": dict(qkv="split", mask=True),
    "cls+ops-nomask": dict(qkv="split"),
    "qkv": dict(),
    "qkv-splitbefore": dict(split="before"),
    "qkv+skip": dict(ln="skip"),
    "qkv+fusedmatmul": dict(attn="fusedmatmul"),
    "biasgelu": dict(gelu="biasgelu", ln="skip"),
    "gelu20": dict(gelu="op"),
    "fastgelu": dict(gelu="fast"),
    "relu(bound)": dict(gelu="relu"),
    "mha": dict(attn="mha", ln="skip"),
    "attention": dict(attn="attention", ln="skip"),
    "attn23": dict(attn="attn23", opset=23),
    "mha-noskip": dict(attn="mha"),
    "mha-flat": dict(attn="mha", flat=True),
    "attn23-flat": dict(attn="attn23", flat=True, opset=23),
    "absorb": dict(attn="attn23", opset=23, absorb=True),
    "absorb-flat": dict(attn="attn23", opset=23, absorb=True, flat=True),
    "packed": dict(attn="attn23", opset=23, absorb=True, flat=True),
    "packed plain": dict(attn="attn23", opset=23, flat=True),
    "packed mha": dict(attn="mha", opset=23, absorb=True, flat=True),
    "attn23-flat-erf": dict(attn="attn23", flat=True, opset=23, gelu="erf"),
}
INT8 = {
    "fp32": dict(),
    "u8 plain": dict(quant="u8", qkv="split", ln="decomposed", gelu="erf", mask=True, cls=False),
    "s8 plain": dict(quant="s8", qkv="split", ln="decomposed", gelu="erf", mask=True, cls=False),
    "u8 cls": dict(quant="u8", qkv="split"),
    "s8 cls": dict(quant="s8", qkv="split"),
    "s8 qkv": dict(quant="s8"),
    "s8 qkv mitf": dict(quant="s8", act="mitf"),
    "s8 qkv dqmm": dict(quant="s8", act="dqmm"),
    "u8 qkv mitf": dict(quant="u8", act="mitf"),
    "s8 mha": dict(quant="s8", attn="mha", act="mitf"),
    "s8pc qkv mitf": dict(quant="s8pc", act="mitf"),
    "s8 row": dict(quant="s8", act="row"),
    "u8 row": dict(quant="u8", act="row"),
    "s8pc row": dict(quant="s8pc", act="row"),
    "s8 static": dict(quant="s8", act="static"),
    "s8pc static": dict(quant="s8pc", act="static"),
    "u8 static": dict(quant="u8", act="static"),
    "s8 mha flat": dict(quant="s8", attn="mha", act="mitf", flat=True),
    "s8 attn23": dict(quant="s8", attn="attn23", act="mitf", opset=23),
    "s8 attn23 flat": dict(quant="s8", attn="attn23", act="mitf", opset=23, flat=True),
    "s8 attn23 dqmm": dict(quant="s8", attn="attn23", act="dqmm", opset=23),
    "s8 static attn23": dict(quant="s8", attn="attn23", act="static", opset=23),
    "s8 static mha": dict(quant="s8", attn="mha", act="static", opset=23),
    "s8 row mitf": dict(quant="s8", act="row", rowmitf=True, attn="attn23", opset=23),
    "s8 absorb": dict(quant="s8", attn="attn23", act="mitf", opset=23, absorb=True),
    "s8 static absorb": dict(quant="s8", attn="attn23", act="static", opset=23, absorb=True),
    "s8 static packed": dict(quant="s8", attn="attn23", act="static", opset=23, absorb=True, flat=True),
    "s8 static packed plain": dict(quant="s8", attn="attn23", act="static", opset=23, flat=True),
    "s8pc static packed plain": dict(quant="s8pc", attn="attn23", act="static", opset=23, flat=True),
    "s7 static packed plain": dict(quant="s8", bits=7, attn="attn23", act="static", opset=23, flat=True),
    "s8 x s8 static packed plain": dict(quant="s8", signed=True, attn="attn23", act="static", opset=23, flat=True),
    "s8 smooth0.35 static packed plain": dict(quant="s8", smooth=0.35, attn="attn23", act="static", opset=23, flat=True),
    "s8 smooth0.5 static packed plain": dict(quant="s8", smooth=0.5, attn="attn23", act="static", opset=23, flat=True),
    "s8 smooth0.65 static packed plain": dict(quant="s8", smooth=0.65, attn="attn23", act="static", opset=23, flat=True),
    "s8 smooth0.8 static packed plain": dict(quant="s8", smooth=0.8, attn="attn23", act="static", opset=23, flat=True),
    "s8 smooth0.5 columns static packed plain": dict(
        quant="s8", smooth=0.5, columns=True, attn="attn23", act="static", opset=23, flat=True),
    "s8pc smooth0.5 static packed plain": dict(quant="s8pc", smooth=0.5, attn="attn23", act="static", opset=23, flat=True),
    "s8 static packed plain, fp32 qkv": dict(quant="s8", fp32=("qkv",), attn="attn23", act="static", opset=23, flat=True),
    "s8 static packed plain, fp32 o": dict(quant="s8", fp32=("o",), attn="attn23", act="static", opset=23, flat=True),
    "s8 static packed plain, fp32 qkv+o": dict(quant="s8", fp32=("qkv", "o"), attn="attn23", act="static", opset=23, flat=True),
    "s8 static packed plain, fp32 up": dict(quant="s8", fp32=("up",), attn="attn23", act="static", opset=23, flat=True),
    "s8 static packed plain, fp32 down": dict(quant="s8", fp32=("down",), attn="attn23", act="static", opset=23, flat=True),
    "s8 row packed plain": dict(quant="s8", attn="attn23", act="row", rowmitf=True, opset=23, flat=True),
    "s8 row packed": dict(quant="s8", attn="attn23", act="row", rowmitf=True, opset=23, absorb=True, flat=True),
    "nbits8/32": dict(quant="nbits8", block=32),
    "nbits8/128": dict(quant="nbits8", block=128),
}


def session(model, profile=None, threads=1):
    o = ort.SessionOptions()
    o.intra_op_num_threads = threads
    o.inter_op_num_threads = 1
    o.add_session_config_entry("session.intra_op.allow_spinning", "0")
    o.log_severity_level = 3
    if profile:
        o.enable_profiling, o.profile_file_prefix = True, profile
    return ort.InferenceSession(model, o, providers=["CPUExecutionProvider"])


def feed(s, rows):
    """Rows of one length as a batch; or, for a packed graph, rows of any length and a dummy of one token a free slot."""
    names = {i.name: i for i in s.get_inputs()}
    if "lengths" in names:
        k = names["lengths"].shape[0]
        rows = rows + [dict(input_ids=[0], token_type_ids=[0])] * (k - len(rows))
        n = [len(r["input_ids"]) for r in rows]
        return {"input_ids": np.int64([t for r in rows for t in r["input_ids"]]), "lengths": np.int64(n),
                "token_type_ids": np.int64([t for r in rows for t in r["token_type_ids"]]),
                "position_ids": np.concatenate([np.arange(x) for x in n])}
    ids = np.int64([r["input_ids"] for r in rows])
    f = {"input_ids": ids, "token_type_ids": np.int64([r["token_type_ids"] for r in rows]),
         "attention_mask": np.ones_like(ids)}
    return {i.name: f[i.name] for i in s.get_inputs()}


def score(s, rows):
    return s.run(None, feed(s, rows))[0][: len(rows), 0]


def cost_of(s, rows):
    f = feed(s, rows)
    t = time.thread_time()
    s.run(None, f)
    return time.thread_time() - t


def calibrate(model, rows, pct=100.0):
    """Ranges of every product's input over real pairs: tag -> (low, high)."""
    b = Builder(model)
    seen = {}
    dense = b.dense
    taps = {}

    def tap(x, d, tag, bias=True, xq=None):
        taps[tag] = x
        return dense(x, d, tag, bias, xq)

    b.dense = tap
    m = onnx.load_from_string(b.build())
    for t, v in taps.items():
        if t not in ("pool", "cls"):
            m.graph.output.append(H.make_tensor_value_info(v, T.FLOAT, None))
    s = session(m.SerializeToString())
    names = [o.name for o in s.get_outputs()]
    back = {v: t for t, v in taps.items()}
    for r in rows:
        for n, y in zip(names[1:], s.run(names[1:], feed(s, [r]))):
            t = back[n]
            lo, hi = seen.get(t, (0.0, 0.0))
            l, h = (y.min(), y.max()) if pct == 100 else np.percentile(y, [100 - pct, pct])
            seen[t] = (min(lo, float(l)), max(hi, float(h)))
            flat = y.reshape(-1, y.shape[-1])
            low, high = seen.get(t + ":columns", np.zeros((2, y.shape[-1]), np.float32))
            seen[t + ":columns"] = np.stack([np.minimum(low, flat.min(0)), np.maximum(high, flat.max(0))])
    return seen


def main():
    a = argparse.ArgumentParser()
    a.add_argument("model"), a.add_argument("golden"), a.add_argument("--only", default="fp32")
    a.add_argument("--variants", default=""), a.add_argument("--reps", type=int, default=5)
    a.add_argument("--pairs", type=int, default=24), a.add_argument("--layers", type=int, default=12)
    a.add_argument("--shortest", type=int, default=24), a.add_argument("--longest", type=int, default=256)
    a.add_argument("--slots", type=int, default=4)
    o = a.parse_args()
    model = read(o.model)
    rows = [json.loads(l) for l in open(os.path.join(o.golden, "tokens.jsonl"))]
    gold = {r["id"]: r["logit"] for r in map(json.loads, open(os.path.join(o.golden, "golden-fp32.jsonl")))}
    table = FP32 if o.only == "fp32" else INT8
    pick = o.variants.split(";") if o.variants else list(table)
    usual = [r for r in rows if o.shortest <= r["tokens"] <= o.longest]
    usual.sort(key=lambda r: r["tokens"])
    timed = [usual[int((i + 0.5) * len(usual) / o.pairs)] for i in range(o.pairs)]
    stats = None
    sess = {}
    for k in pick:
        v = dict(table[k])
        if "packed" in k:
            v["slots"] = o.slots
        if v.get("act") == "static":
            stats = stats or calibrate(model, usual[::2])
            v["stats"] = stats
        try:
            sess[k] = session(Builder(model, layers=o.layers, **v).build())
        except Exception as e:
            print(f"{k:18} does not load: {str(e)[:200]}", flush=True)
    print(f"{len(timed)} pairs, {min(r['tokens'] for r in timed)}..{max(r['tokens'] for r in timed)} tokens, "
          f"mean {np.mean([r['tokens'] for r in timed]):.0f}; {o.layers} layers", flush=True)
    cost = {k: [] for k in sess}
    mixed = random.Random(0).sample(timed, len(timed))
    groups = [mixed[i : i + o.slots] for i in range(0, len(mixed), o.slots)]
    for s in sess.values():
        score(s, timed[:1])
    for _ in range(o.reps):
        total = dict.fromkeys(sess, 0.0)
        for g in groups:
            for k, s in sess.items():
                if "packed" in k:
                    total[k] += cost_of(s, g)
                    continue
                for r in g:
                    total[k] += cost_of(s, [r])
        for k in sess:
            cost[k].append(total[k])
    base = next(iter(sess))
    for k, s in sess.items():
        ratio = statistics.median(b / c for b, c in zip(cost[base], cost[k]))
        d = np.abs([score(s, [r])[0] - gold[r["id"]] for r in rows[::4]]) if o.layers == 12 else np.zeros(1)
        x = timed[len(timed) // 2]
        other = [dict(r, input_ids=(r["input_ids"] * 9)[: x["tokens"]], token_type_ids=(r["token_type_ids"] * 9)[: x["tokens"]])
                 for r in timed]
        alone = np.array([score(s, [r])[0] for r in other])
        if "packed" in k:
            other, alone = mixed, np.array([score(s, [r])[0] for r in mixed])
        both = np.concatenate([score(s, other[i : i + o.slots]) for i in range(0, len(other), o.slots)])
        print(f"{k:40} ratio {ratio:.3f}  {len(timed) / statistics.median(cost[k]):6.1f} pairs/s  |d| max {d.max():.2g} mean "
              f"{d.mean():.2g}  batched: {'bit-equal' if (alone == both).all() else f'differs by {np.abs(alone - both).max():.2g}'}",
              flush=True)


if __name__ == "__main__":
    main()
