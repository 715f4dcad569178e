(function() {
  "use strict";
  function watchedHeap() {
    const memories = /* @__PURE__ */ new Set();
    const { Memory, instantiate, instantiateStreaming } = WebAssembly;
    const note = (found) => {
      if (found instanceof Memory) memories.add(found);
    };
    WebAssembly.Memory = class extends Memory {
      constructor(descriptor) {
        super(descriptor);
        memories.add(this);
      }
    };
    const noted = (made) => {
      const instance = made.instance ?? made;
      Object.values(instance.exports ?? {}).forEach(note);
      return made;
    };
    const wrapped = WebAssembly;
    wrapped.instantiate = (...given) => instantiate(...given).then(noted);
    wrapped.instantiateStreaming = (...given) => instantiateStreaming(...given).then(noted);
    return () => [...memories].reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
  }
  class NoBackend extends Error {
  }
  function onGpu(adapter, threads, share) {
    const gpu = `webgpu (${adapter})`;
    return share === void 0 ? gpu : `${gpu}, ${share}; the rest ${threadsOf(threads)}`;
  }
  function threadsOf(count) {
    return `wasm, ${count} thread${count === 1 ? "" : "s"}`;
  }
  async function requireGpu() {
    const gpu = navigator.gpu;
    if (!gpu) throw new NoBackend("it has no WebGPU");
    const adapter = await gpu.requestAdapter();
    if (!adapter) throw new NoBackend("it has WebGPU, but no adapter: its GPU or driver is not supported, or GPUs are turned off");
    const { vendor = "", architecture = "", description = "" } = adapter.info ?? {};
    return description || [vendor, architecture].filter((word) => word).join(" ") || "unnamed";
  }
  const DTYPES$1 = { float32: "F32", int32: "I32", uint8: "U8" };
  async function start$1(folder, threads, backend) {
    const adapter = backend === "webgpu" ? await requireGpu() : "";
    const litert = await import(
      /* @vite-ignore */
      `${folder}index.js`
    );
    self.Module = {
      locateFile: (name) => folder + name,
      mainScriptUrlOrBlob: `${folder}litert_wasm_threaded_internal.js`
    };
    const jspi = backend === "webgpu" && "Suspending" in WebAssembly;
    const used = jspi ? 1 : threads;
    await litert.loadLiteRt(folder, { threads: used > 1, jspi });
    const compile = (bytes) => litert.loadAndCompile(bytes, { accelerator: backend, cpuOptions: { numThreads: used } });
    return {
      async load(bytes, signature) {
        const compiled = await compile(bytes);
        const runner = compiled.signatures[signature] ?? compiled;
        let given = {};
        let last = {};
        const forget = (tensors) => Object.values(tensors).forEach((tensor) => tensor.delete());
        return {
          bound(inputs) {
            forget(given);
            given = {};
            for (const [name, { shape, values }] of Object.entries(inputs)) {
              given[name] = new litert.Tensor(values, shape);
            }
            return async () => {
              forget(last);
              last = await runner.run(given);
              if (backend === "webgpu") last = await broughtBack(last);
            };
          },
          async outputs() {
            const found = {};
            for (const { name, dtype, shape } of runner.getOutputDetails()) {
              const values = (await last[name].data()).slice();
              found[name] = { dtype: DTYPES$1[dtype], shape: [...shape], values };
            }
            return found;
          },
          async release() {
            forget(last);
            forget(given);
            compiled.delete();
          }
        };
      },
      async obtained(bytes) {
        if (backend === "wasm") return threadsOf(used);
        const compiled = await compile(bytes);
        const { options, isFullyAccelerated: whole } = compiled;
        compiled.delete();
        if (options.accelerator !== "webgpu") return threadsOf(used);
        return onGpu(adapter, used, whole ? void 0 : "in part");
      }
    };
  }
  async function broughtBack(tensors) {
    const moved = {};
    for (const [name, tensor] of Object.entries(tensors)) {
      moved[name] = tensor.accelerator === "wasm" ? tensor : await tensor.moveTo("wasm");
    }
    return moved;
  }
  const TYPES = {
    F64: "float64",
    F32: "float32",
    F16: "float16",
    I64: "int64",
    U64: "uint64",
    I32: "int32",
    U32: "uint32",
    I16: "int16",
    U16: "uint16",
    I8: "int8",
    U8: "uint8",
    BOOL: "bool"
  };
  const DTYPES = Object.fromEntries(Object.entries(TYPES).map(([dtype, type]) => [type, dtype]));
  async function start(folder, threads, backend) {
    const adapter = backend === "webgpu" ? await requireGpu() : "";
    const listen = hearConsole();
    const ort = await import(
      /* @vite-ignore */
      `${folder}ort.${backend}.min.mjs`
    );
    ort.env.wasm.wasmPaths = folder;
    ort.env.wasm.numThreads = threads;
    ort.env.logLevel = "error";
    return {
      async load(bytes) {
        const session = await ort.InferenceSession.create(bytes, { executionProviders: [backend] });
        let last = {};
        return {
          bound(inputs) {
            const feeds = {};
            for (const [name, { dtype, shape, values }] of Object.entries(inputs)) {
              feeds[name] = new ort.Tensor(TYPES[dtype], values, shape);
            }
            return async () => {
              last = await session.run(feeds);
            };
          },
          async outputs() {
            const found = {};
            for (const [name, { type, dims, data }] of Object.entries(last)) {
              found[name] = { dtype: DTYPES[type], shape: [...dims], values: data };
            }
            return found;
          },
          release: () => session.release()
        };
      },
      async obtained(bytes) {
        if (backend === "wasm") return threadsOf(threads);
        const options = { executionProviders: [backend], logSeverityLevel: 0 };
        const said = await listen(async () => (await ort.InferenceSession.create(bytes, options)).release());
        return placement(said, adapter, threads);
      }
    };
  }
  const PLACED = /placed on \[(\w+)ExecutionProvider\]\. Number of nodes: (\d+)/;
  function placement(said, adapter, threads) {
    let [gpu, all] = [0, 0];
    for (const line of said) {
      const [, provider, count] = PLACED.exec(line) ?? [];
      all += Number(count ?? 0);
      if (provider === "WebGpu") gpu += Number(count);
    }
    if (!all) return `${onGpu(adapter, threads)}, in what part it does not tell`;
    if (!gpu) return threadsOf(threads);
    return onGpu(adapter, threads, gpu < all ? `${gpu} of ${all} nodes` : void 0);
  }
  function hearConsole() {
    let heard;
    for (const way of ["log", "info", "warn", "error", "debug"]) {
      const plain = console[way].bind(console);
      console[way] = (...words) => heard ? heard.push(words.join(" ")) : plain(...words);
    }
    return async (run) => {
      const lines = [];
      heard = lines;
      try {
        await run();
      } finally {
        heard = void 0;
      }
      return lines;
    };
  }
  const ARRAYS = {
    F64: Float64Array,
    F32: Float32Array,
    F16: Uint16Array,
    I64: BigInt64Array,
    U64: BigUint64Array,
    I32: Int32Array,
    U32: Uint32Array,
    I16: Int16Array,
    U16: Uint16Array,
    I8: Int8Array,
    U8: Uint8Array,
    BOOL: Uint8Array
  };
  function read(buffer) {
    const length = Number(new DataView(buffer).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
    const found = {};
    for (const [name, { dtype, shape, data_offsets }] of Object.entries(header)) {
      if (name === "__metadata__") continue;
      const kind = ARRAYS[dtype];
      if (!kind) throw new Error(`input ${name} is of type ${dtype}, which no browser has`);
      const [from, to] = data_offsets.map((offset) => 8 + length + offset);
      found[name] = { dtype, shape, values: new kind(buffer.slice(from, to)) };
    }
    return found;
  }
  function write(tensors) {
    let size = 0;
    const entries = Object.entries(tensors).map(([name, { dtype, shape, values }]) => {
      const data_offsets = [size, size += values.byteLength];
      return [name, { dtype, shape, data_offsets }];
    });
    const header = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
    const bytes = new Uint8Array(8 + header.length + size);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true);
    bytes.set(header, 8);
    let at = 8 + header.length;
    for (const { values } of Object.values(tensors)) {
      bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), at);
      at += values.byteLength;
    }
    return bytes;
  }
  const WARM_WINDOW = 10;
  const WARM_STABLE = 0.05;
  const WARM_AT_LEAST_MS = 50;
  const WARM_AT_MOST_MS = 2e3;
  const SWITCH_RUNS = 2;
  const MOST_RUNS = 1e4;
  const CLOCK_STEPS = 15;
  function clockStepMs() {
    const steps = [];
    for (let last = performance.now(); steps.length < CLOCK_STEPS; ) {
      const now = performance.now();
      if (now > last) steps.push(now - last);
      last = now;
    }
    return median(steps);
  }
  async function timed(run, runs = 1) {
    const started = performance.now();
    for (let count = 0; count < runs; count++) await run();
    return (performance.now() - started) / runs;
  }
  async function warmed(run, stepMs, largestClockShare) {
    const started = performance.now();
    let last = Infinity;
    let fastest = Infinity;
    for (; ; ) {
      const now = await timed(run, WARM_WINDOW);
      if (now > 0) fastest = Math.min(fastest, now);
      const spentMs = performance.now() - started;
      const stable = now > 0 && Math.abs(now / last - 1) < WARM_STABLE;
      if (stable && spentMs > WARM_AT_LEAST_MS || spentMs > WARM_AT_MOST_MS) {
        const wanted = Math.ceil(stepMs / largestClockShare / fastest);
        return { run, runsPerSample: Math.min(Math.max(wanted, 1), MOST_RUNS), samplesNs: [] };
      }
      last = now;
    }
  }
  async function sample(one, count, alive) {
    for (let run = 0; run < SWITCH_RUNS; run++) await one.run();
    const found = [];
    for (let number = 0; number < count; number++) {
      found.push(await timed(one.run, one.runsPerSample));
      alive();
    }
    one.samplesNs.push(...found.map((ms) => Math.round(ms * 1e6)));
    return found;
  }
  function median(values) {
    const sorted = [...values].sort((one, other) => one - other);
    return sorted[Math.floor(sorted.length / 2)] ?? 0;
  }
  function faultOf(error) {
    return { error: { kind: error instanceof NoBackend ? "backend" : "failure", message: textOf(error) } };
  }
  function textOf(error) {
    const text = error instanceof Error ? error.message : String(error);
    return (text.trim().split("\n")[0] || "no reason was given").slice(0, 300);
  }
  const ALIVE_EVERY_MS = 2e3;
  self.onmessage = async ({ data: work }) => {
    try {
      await measure(work);
    } catch (error) {
      tell(faultOf(error));
    }
  };
  async function measure(work) {
    tell({ phase: "start" });
    const heapBytes = watchedHeap();
    const runtime = await (work.format === "onnx" ? start : start$1)(
      new URL(`runtime/${work.format}/`, self.location.href).href,
      work.threads,
      work.backend
    );
    tell({ phase: "inputs" });
    const reference = await load(runtime, "main", "reference", "reference-inputs");
    const files = [];
    for (const [index, signature] of work.signatures.entries()) {
      files.push(await load(runtime, signature, `models/${index}`, `inputs/${index}`));
    }
    for (const [index, { model }] of files.entries()) {
      const bytes = write(await model.outputs());
      post({ kind: "outputs", index, bytes });
    }
    tell({ phase: "run" });
    const stepMs = clockStepMs();
    const warm = [];
    for (const { run } of [reference, ...files]) {
      warm.push(await warmed(run, stepMs, work.largest_clock_share));
      tell({ phase: "run" });
    }
    await takeTurns(warm, work);
    const [first, ...rest] = warm.map((one, index) => ({
      samples_ns: one.samplesNs,
      runs_per_sample: one.runsPerSample,
      ...[reference, ...files][index].loads
    }));
    tell({
      result: {
        files: rest.map((one, index) => ({
          ...one,
          signature: work.signatures[index],
          backend: files[index].backend
        })),
        reference: first,
        page: {
          user_agent: navigator.userAgent.slice(0, 400),
          platform: navigator.platform.slice(0, 100),
          logical_cores: navigator.hardwareConcurrency,
          cross_origin_isolated: self.crossOriginIsolated,
          clock_step_ms: stepMs,
          memory_gb: navigator.deviceMemory ?? null,
          heap_bytes: heapBytes()
        }
      }
    });
  }
  async function load(runtime, signature, model, inputs) {
    const [bytes, given] = await Promise.all([fetched(model), fetched(inputs).then(read)]);
    const timesMs = [];
    let loaded;
    for (let time = 0; time < 2; time++) {
      await loaded?.release();
      const started = performance.now();
      loaded = await runtime.load(new Uint8Array(bytes), signature);
      timesMs.push(performance.now() - started);
    }
    const run = loaded.bound(given);
    const firstMs = await timed(run);
    return {
      model: loaded,
      run,
      loads: { load_cold_ms: timesMs[0], load_warm_ms: timesMs[1], first_run_ms: firstMs },
      backend: await runtime.obtained(new Uint8Array(bytes))
      // last, since it warms up what the others measure
    };
  }
  async function takeTurns([reference, ...files], work) {
    let told = performance.now();
    for (let start2 = 0; start2 < work.samples; start2 += work.block) {
      const count = Math.min(work.block, work.samples - start2);
      const alive = () => {
        if (performance.now() - told < ALIVE_EVERY_MS) return;
        told = performance.now();
        tell({ phase: "run", done: start2, of: work.samples });
      };
      post({ kind: "samples", of: "reference", ms: await sample(reference, count, alive) });
      for (const file of files) post({ kind: "samples", of: "file", ms: await sample(file, count, alive) });
      files.reverse();
    }
  }
  async function fetched(name) {
    const answer = await fetch(new URL(name, self.location.href));
    if (!answer.ok) throw new Error(`the computer answered ${answer.status} to ${name}`);
    return answer.arrayBuffer();
  }
  function tell(message) {
    post({ kind: "message", message });
  }
  function post(told) {
    self.postMessage(told);
  }
})();
