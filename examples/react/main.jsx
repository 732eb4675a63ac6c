// A page of its own origin that shows a post's comments live: `?post=<id>`, and `&gateway=` for another address.

import { createRoot } from 'react-dom/client';

import { useComments } from './useComments';

const address = new URLSearchParams(location.search);
const url = address.get('gateway') ?? 'http://127.0.0.1:4000/graphql';

function Comments({ postId }) {
  const comments = useComments(url, postId);
  if (!comments) return <p>Loading…</p>;
  return (
    <ul>
      {comments.map(({ id, author, text }) => (
        <li key={id}>
          {author}: {text}
        </li>
      ))}
    </ul>
  );
}

createRoot(document.getElementById('root')).render(<Comments postId={address.get('post')} />);
