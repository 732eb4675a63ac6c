// Writing a post.

import { useMutation } from '@apollo/client/react';

import { useAuthorName } from './authorName';
import { CreatePostDocument } from './graph/generated';
import { insertPost } from './graph/lists';
import { PostForm } from './PostForm';

export function NewPost({ onDone }: { onDone: (id?: string) => void }) {
  const [author, setAuthor] = useAuthorName();
  const [create, { loading, error }] = useMutation(CreatePostDocument);

  const save = async (title: string, content: string) => {
    const { data } = await create({
      variables: { input: { title, content, author: author.trim() || null } },
    });
    if (!data) return;
    insertPost(data.createPost.post.id);
    onDone(data.createPost.post.id);
  };

  return (
    <article className="post">
      <h1>New post</h1>
      <PostForm saveLabel="Publish" saving={loading} error={error} onSave={save} onCancel={() => onDone()}>
        <label>
          Your name
          <input
            value={author}
            maxLength={100}
            placeholder="Anonymous"
            onChange={(event) => setAuthor(event.target.value)}
          />
        </label>
      </PostForm>
    </article>
  );
}
