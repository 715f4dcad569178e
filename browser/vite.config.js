// Fixed names and relative addresses: the server knows every file by name, and serves them below a token.

const DEMOS = ["speech", "detection", "translation"];

export default ({ mode }) => {
  const demo = DEMOS.includes(mode) ? mode : undefined;
  return {
    root: demo ? `demos/${demo}` : ".",
    base: "./",
    build: {
      outDir: demo ? `../../../demo_apps/${demo}/page` : "../mobiledistill/devices/assets/browser",
      emptyOutDir: true,
      target: "es2022",
      assetsInlineLimit: 0,
      modulePreload: false,
      minify: false,
      rollupOptions: {
        input: demo ? { page: `demos/${demo}/index.html`, core: `demos/${demo}/core.ts` } : { page: "index.html" },
        preserveEntrySignatures: "strict",
        output: { entryFileNames: "[name].js", chunkFileNames: "[name].js", assetFileNames: "[name][extname]" },
      },
    },
    // A classic worker: LiteRT.js loads its scripts by importScripts.
    worker: { format: "iife", rollupOptions: { output: { entryFileNames: "worker.js" } } },
  };
};
