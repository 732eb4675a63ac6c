// Types and documents for src/live/graph/operations.graphql, from the composed graph.
import type { CodegenConfig } from '@graphql-codegen/cli';

const config: CodegenConfig = {
  schema: '../schema/supergraph.graphql',
  documents: 'src/**/*.graphql',
  generates: {
    'src/live/graph/generated.ts': {
      plugins: ['typescript-operations', 'typed-document-node'],
      config: {
        useTypeImports: true,
        enumsAsTypes: true,
        strictScalars: true,
        // The last two belong to the supergraph's own directives.
        scalars: { DateTime: 'string', ID: 'string', join__FieldSet: 'string', link__Import: 'string' },
        dedupeFragments: true,
      },
    },
  },
};

export default config;
