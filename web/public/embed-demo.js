// Finds a post for the demo page: the one in its address, or the newest.

import './embed.js';

async function newestPost() {
  const response = await fetch('/graphql', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: '{ posts(first: 1) { edges { node { id } } } }' }),
  });
  const { data } = await response.json();
  return data?.posts.edges[0]?.node.id;
}

const shown = new URLSearchParams(location.search).get('post');
const post = shown ?? (await newestPost().catch(() => undefined));
document.getElementById('origin').textContent = location.origin;
if (post === undefined) {
  document.getElementById('trouble').textContent = 'There is no post yet, or the server cannot be reached.';
} else {
  document.getElementById('post').textContent = post;
  const comments = document.createElement('rejoinder-comments');
  comments.setAttribute('post', post);
  document.getElementById('comments').append(comments);
}
