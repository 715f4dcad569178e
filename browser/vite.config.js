// Fixed names and relative addresses: the server knows every file by name, and serves them below a token.
export default {
  base: "./",
  build: {
    outDir: "../mobiledistill/devices/assets/browser",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: false,
    minify: false,
    rollupOptions: {
      output: { entryFileNames: "page.js", chunkFileNames: "[name].js", assetFileNames: "[name][extname]" },
    },
  },
  // A classic worker: LiteRT.js loads its scripts by importScripts.
  worker: { format: "iife", rollupOptions: { output: { entryFileNames: "worker.js" } } },
};
