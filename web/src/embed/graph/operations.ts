// The operations of the embed, as texts: it has no GraphQL library. Their types are generated.

import changes from './changes.graphql?raw';
import comment from './comment.graphql?raw';
import count from './count.graphql?raw';
import older from './older.graphql?raw';
import read from './read.graphql?raw';
import write from './write.graphql?raw';

export const READ = comment + read;
export const OLDER = comment + older;
export const WRITE = comment + write;
export const CHANGES = comment + changes;
export const COUNT = count;

export type {
  EmbeddedChangesSubscription as Changes,
  EmbeddedCommentFragment as Comment,
  EmbeddedCommentsQuery as Read,
  EmbeddedCountSubscription as Count,
  EmbeddedOlderCommentsQuery as Older,
  EmbeddedWriteMutation as Write,
} from '../../live/graph/generated';
