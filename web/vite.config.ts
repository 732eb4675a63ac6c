// Builds the three pages and the embed, with hashed assets and a compressed copy beside each file.

import { createHash } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';

import react from '@vitejs/plugin-react';
import { defaultClientConditions, defineConfig, type Plugin } from 'vite';

/** The package's code itself, so that it needs no build before the pages'. */
const CLIENT = join(import.meta.dirname, '../client/src');
const GATEWAY = process.env.GATEWAY ?? 'http://127.0.0.1:4000';

// GraphiQL is built by itself (`--mode graphiql`): built together, the live page would load the parts
// of the libraries that only GraphiQL uses.
export default defineConfig(({ mode }) => {
  const buildsGraphiql = mode === 'graphiql';
  const buildsEmbed = mode === 'embed';
  return {
    plugins: [
      react(),
      graphiqlAtGraphql(),
      editorParts(),
      preloadedImports(),
      fontFiles(),
      freshCopies(),
      precompressed(),
    ],
    resolve: {
      alias: [
        { find: /^rejoinder-client$/, replacement: `${CLIENT}/index.ts` },
        { find: 'rejoinder-client/apollo', replacement: `${CLIENT}/apollo.ts` },
        { find: 'rejoinder-client/graphql-ws', replacement: `${CLIENT}/graphqlWs.ts` },
        // A tenth of React's size, with the same interface. GraphiQL uses more of React than there is in it.
        ...(buildsGraphiql
          ? []
          : [
              { find: /^react$/, replacement: 'preact/compat' },
              { find: /^react-dom$/, replacement: 'preact/compat' },
              { find: /^react-dom\/client$/, replacement: 'preact/compat/client' },
              { find: /^react\/jsx-(dev-)?runtime$/, replacement: 'preact/jsx-runtime' },
            ]),
      ],
      // RxJS has its classes as such under this name, and elsewhere as functions with helpers.
      conditions: ['es2015', ...defaultClientConditions],
      // The pages' own, for the package's code, too.
      dedupe: ['@apollo/client', 'graphql'],
    },
    build: {
      target: 'es2022',
      emptyOutDir: !buildsGraphiql && !buildsEmbed,
      copyPublicDir: !buildsGraphiql && !buildsEmbed,
      // Data URLs would need a wider content security policy.
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
      // Monaco, GraphiQL's editor, is large and loads on that page alone.
      chunkSizeWarningLimit: 4_000,
      // A library, so that nothing is added to it: other sites' pages load it. They name it, so its address stays.
      ...(buildsEmbed && { lib: { entry: 'src/embed/embed.ts', formats: ['es' as const] } }),
      rolldownOptions: {
        ...(!buildsEmbed && { input: buildsGraphiql ? ['graphiql.html'] : ['index.html', 'stats.html'] }),
        ...(buildsEmbed && {
          output: {
            minify: true,
            entryFileNames: 'embed.js',
            chunkFileNames: 'assets/embed-[name]-[hash].js',
          },
        }),
        // GraphiQL's files say "use no memo" to a compiler that is not used here.
        checks: { moduleLevelDirective: false },
      },
    },
    worker: { format: 'es' },
    server: {
      fs: { allow: ['.', CLIENT] },
      proxy: {
        '/graphql': { target: GATEWAY, ws: true },
        '/metrics': GATEWAY,
        '/sign-in.json': GATEWAY,
      },
    },
  };
});

/** In development, a browser that opens /graphql gets GraphiQL, as it does from the gateway. */
function graphiqlAtGraphql(): Plugin {
  return {
    name: 'graphiql-at-graphql',
    configureServer(server) {
      server.middlewares.use((request, _response, next) => {
        const wantsPage = request.headers.accept?.includes('text/html');
        if (request.url === '/graphql' && request.method === 'GET' && wantsPage)
          request.url = '/graphiql.html';
        next();
      });
    },
  };
}

/** GraphiQL's editor has the parts that it has a use for. */
function editorParts(): Plugin {
  const replaced = new Map([
    ['edcore.main.js', 'editorParts.js'],
    ['diffEditorWidget.js', 'noDiffEditor.js'],
    ['multiDiffEditorWidget.js', 'noDiffEditor.js'],
  ]);
  return {
    name: 'editor-parts',
    enforce: 'pre',
    resolveId(source, importer) {
      const file = replaced.get(basename(source));
      const isEditors = /monaco-(editor|graphql)\//.test(`${source} ${importer}`);
      return file && isEditors ? join(import.meta.dirname, 'src/graphiql', file) : undefined;
    },
  };
}

/**
 * What the live page's first script imports dynamically is fetched beside it, not after it. What draws Markdown is
 * fetched once there is some.
 */
function preloadedImports(): Plugin {
  return {
    name: 'preloaded-imports',
    apply: 'build',
    transformIndexHtml: {
      order: 'post',
      handler(_html, { path, bundle = {}, chunk }) {
        if (path !== '/index.html') return [];
        const wanted = new Set<string>();
        const want = (file: string) => {
          const found = bundle[file];
          if (wanted.has(file) || file === chunk?.fileName || found?.type !== 'chunk') return;
          if (found.facadeModuleId?.endsWith('/prose/markdown.tsx')) return;
          wanted.add(file);
          found.imports.forEach(want);
        };
        chunk?.dynamicImports.forEach(want);
        return [...wanted].map((file) => ({
          tag: 'link',
          injectTo: 'head' as const,
          attrs: { rel: 'modulepreload', crossorigin: true, href: `/${file}` },
        }));
      },
    },
  };
}

/**
 * Takes fonts out of style sheets into files of their own: a browser fetches those that a page uses. GraphiQL's text
 * fonts are left out: the device has some.
 */
function fontFiles(): Plugin {
  const font = /url\(["']?data:font\/(\w+);base64,([^"')]+)["']?\)/g;
  const textFont = /@font-face\s*\{[^}]*font-family:\s*["']?(Roboto|Fira Code)\b[^}]*\}/g;
  return {
    name: 'font-files',
    apply: 'build',
    enforce: 'post',
    generateBundle(_options, bundle) {
      for (const file of Object.values(bundle)) {
        if (file.type !== 'asset' || !file.fileName.endsWith('.css')) continue;
        const source = String(file.source).replace(textFont, '');
        file.source = source.replace(font, (_url, kind: string, base64: string) => {
          const source = Buffer.from(base64, 'base64');
          const hash = createHash('sha256').update(source).digest('base64url').slice(0, 8);
          const fileName = `assets/font-${hash}.${kind}`;
          if (!(fileName in bundle)) this.emitFile({ type: 'asset', fileName, source });
          return `url(/${fileName})`;
        });
      }
    },
  };
}

/**
 * A copy of the embed's script that was asked for again, by an address with a query, asks for the view by this query, too: a
 * browser may remember for as long as the page is open that the view's own address could not be loaded.
 */
function freshCopies(): Plugin {
  const view = /import\((["'`])(\.\/assets\/embed-view-[\w-]+\.js)\1\)/;
  return {
    name: 'fresh-copies',
    apply: 'build',
    enforce: 'post',
    generateBundle(_options, bundle) {
      const script = bundle['embed.js'];
      if (script?.type !== 'chunk') return;
      if (!view.test(script.code)) this.error('embed.js does not import its view');
      script.code = script.code.replace(view, 'import(`$2${new URL(import.meta.url).search}`)');
    },
  };
}

/** Writes FILE.br and FILE.gz beside each text file that gets smaller. */
function precompressed(): Plugin {
  const text = new Set(['.css', '.html', '.js', '.json', '.svg', '.ttf']);
  const smallest = 1_024;
  const brotliOptions = { params: { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY } };
  let folder = 'dist';

  return {
    name: 'precompressed',
    apply: 'build',
    configResolved(config) {
      folder = config.build.outDir;
    },
    async closeBundle() {
      for (const name of await readdir(folder, { recursive: true })) {
        if (!text.has(extname(name))) continue;
        const path = join(folder, name);
        const content = await readFile(path);
        if (content.length < smallest) continue;
        await writeFile(`${path}.br`, await promisify(brotliCompress)(content, brotliOptions));
        await writeFile(`${path}.gz`, await promisify(gzip)(content, { level: 9 }));
      }
    },
  };
}
