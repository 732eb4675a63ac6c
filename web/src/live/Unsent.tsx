// What was written about a post that is gone: it can be copied, and put aside.

import { useState } from 'react';

import { dropDraftsAbout, textsAbout } from './drafts';
import { forgetPost } from './outbox';

export function Unsent({ postId }: { postId: string }) {
  const [texts, setTexts] = useState(() => textsAbout(postId));
  const [copied, setCopied] = useState<number>();
  if (texts.length === 0) return null;

  return (
    <section className="unsent" aria-label="What you wrote and did not send">
      <p>You wrote this and did not send it:</p>
      {texts.map((text, index) => (
        <div key={index} className="form">
          <textarea
            readOnly
            rows={4}
            value={text}
            aria-label="Your text"
            onFocus={(event) => event.currentTarget.select()}
          />
          <div className="form-actions">
            <button
              type="button"
              className="button quiet"
              onClick={() => void navigator.clipboard?.writeText(text).then(() => setCopied(index))}
            >
              {copied === index ? 'Copied' : 'Copy'}
            </button>
          </div>
        </div>
      ))}
      <button
        type="button"
        className="text"
        onClick={() => {
          dropDraftsAbout(postId);
          forgetPost(postId);
          setTexts([]);
        }}
      >
        Throw it away
      </button>
    </section>
  );
}
