(function() {
  "use strict";
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
  function textOf(error) {
    const text = error instanceof Error ? error.message : String(error);
    return (text.trim().split("\n")[0] || "no reason was given").slice(0, 300);
  }
  let runtime;
  let facts;
  const models = /* @__PURE__ */ new Map();
  self.onmessage = async ({ data }) => {
    try {
      if ("open" in data) {
        facts = data.open;
        const folder = new URL(`runtime/${facts.format}/`, self.location.href).href;
        runtime = await (facts.format === "onnx" ? start : start$1)(folder, 1, "wasm");
        for (const signature of Object.keys(facts.files)) if (signature) await model(signature);
        return tell({ id: data.id, outputs: {}, ms: 0 });
      }
      const run = (await model(data.signature)).bound(data.inputs);
      const started = performance.now();
      await run();
      const ms = performance.now() - started;
      tell({ id: data.id, outputs: await (await model(data.signature)).outputs(), ms });
    } catch (error) {
      tell({ id: data.id, error: textOf(error) });
    }
  };
  async function model(signature) {
    const known = models.get(signature);
    if (known) return known;
    const place = facts.files[signature] ?? facts.files[""];
    if (place === void 0) throw new Error(`The file has no signature ${signature}: run the demo again.`);
    const answer = await fetch(new URL(place, self.location.href));
    if (!answer.ok) throw new Error(`The computer answered ${answer.status} to ${place}: run the demo again.`);
    const loaded = await runtime.load(new Uint8Array(await answer.arrayBuffer()), signature);
    models.set(signature, loaded);
    return loaded;
  }
  function tell(answer) {
    self.postMessage(answer);
  }
})();
