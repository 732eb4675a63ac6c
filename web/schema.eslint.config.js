// What the graph is held to: described for its readers, named as the GraphQL ecosystem names things,
// and paged as Relay expects. The subgraphs' exported schemas are checked, because a finding there
// names the place to mend.

import graphql from '@graphql-eslint/eslint-plugin';

/** Run from the repository's root: the subgraphs' files are checked, the supergraph is their context. */
const rules = {
  '@graphql-eslint/description-style': ['error', { style: 'block' }],
  '@graphql-eslint/naming-convention': [
    'error',
    {
      types: 'PascalCase',
      FieldDefinition: 'camelCase',
      InputValueDefinition: 'camelCase',
      Argument: 'camelCase',
      EnumValueDefinition: 'UPPER_CASE',
      'FieldDefinition[parent.name.value=Query]': {
        forbiddenPrefixes: ['query', 'get'],
        forbiddenSuffixes: ['Query'],
      },
      'FieldDefinition[parent.name.value=Mutation]': { forbiddenSuffixes: ['Mutation'] },
      'FieldDefinition[parent.name.value=Subscription]': { forbiddenSuffixes: ['Subscription'] },
    },
  ],
  '@graphql-eslint/no-hashtag-description': 'off',
  '@graphql-eslint/no-typename-prefix': 'error',
  '@graphql-eslint/require-deprecation-reason': 'error',
  '@graphql-eslint/require-description': [
    'error',
    {
      types: true,
      rootField: true,
      FieldDefinition: true,
      InputValueDefinition: true,
      EnumValueDefinition: true,
      // GraphQL's own directives have arguments that nobody described.
      ignoredSelectors: ['DirectiveDefinition > InputValueDefinition'],
    },
  ],
  '@graphql-eslint/unique-enum-value-names': 'error',
  '@graphql-eslint/input-name': ['error', { checkInputType: true, caseSensitiveInputType: false }],
  '@graphql-eslint/relay-connection-types': 'error',
  '@graphql-eslint/relay-edge-types': [
    'error',
    { withEdgeSuffix: true, shouldImplementNode: false, listTypeCanWrapOnlyEdgeType: false },
  ],
  '@graphql-eslint/relay-page-info': 'error',
  // A search is paged forward only.
  '@graphql-eslint/relay-arguments': ['error', { includeBoth: false }],
};

export default [
  {
    files: ['**/*.graphql'],
    plugins: { '@graphql-eslint': graphql },
    languageOptions: {
      parser: graphql.parser,
      parserOptions: { graphQLConfig: { schema: 'schema/supergraph.graphql' } },
    },
    rules,
  },
];
