// Vite with Relay's compiler plugin, and the gateway behind /graphql.

import { transformAsync } from '@babel/core';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

const relay = {
  name: 'relay',
  enforce: 'pre',
  async transform(code, id) {
    if (!id.endsWith('.jsx') || !code.includes('graphql`')) return null;
    const plugins = [['relay', { artifactDirectory: '__generated__', eagerEsModules: true }]];
    return transformAsync(code, {
      filename: id,
      plugins,
      parserOpts: { plugins: ['jsx'] },
      sourceMaps: true,
    });
  },
};

export default defineConfig({
  plugins: [relay, react()],
  server: { proxy: { '/graphql': { target: process.env.GATEWAY ?? 'http://127.0.0.1:4000', ws: true } } },
});
