// What readers write: links and a little Markdown, and nothing that a page should fear.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import type { Browser, Page } from 'playwright-core';
import { renderToStaticMarkup } from 'react-dom/server';

import { otherHost, safeAddress } from '../src/live/prose/address';
import { drawMarkdown } from '../src/live/prose/markdown';
import { hasMarkup } from '../src/live/prose/markup';
import { CONTENT_CHARS_MAX } from '../src/live/text';
import { seriousFaults } from './support/axe';
import { closePage, launchBrowser, openPage, PHONE, waitForState, waitForValue } from './support/browser';
import { Graph } from './support/graph';
import { OPEN_TO_ALL, type Stack, startStack } from './support/stack';
import { eventually, gate } from './support/waiting';

/** Of the longest comment, whatever is in it. */
const DRAWN_WITHIN_MS = 50;
const COMMENT_CHARS = 5_000;
const LAYOUT_SHIFT_MAX = 0.02;

const drawn = (text: string) => renderToStaticMarkup(drawMarkdown(text));

/** More runs than any text needs to be drawn in time in one of them, on a busy machine. */
const RUNS = 20;

/**
 * Of the processor's time, the least of up to so many runs: the machine has other work, and the compiler and the
 * collector of garbage take time on threads of their own. The first run that is quick enough is the last one.
 */
function leastMsOf(work: () => unknown): number {
  let least = Infinity;
  for (let run = 0; run < RUNS && least >= DRAWN_WITHIN_MS; run++) {
    const began = process.cpuUsage();
    work();
    const { user, system } = process.cpuUsage(began);
    least = Math.min(least, (user + system) / 1_000);
  }
  return least;
}

describe('addresses', () => {
  const hostile = [
    'javascript:alert(1)',
    'JaVaScRiPt:alert(1)',
    ' javascript:alert(1)',
    'java\nscript:alert(1)',
    'java\tscript:alert(1)',
    '\u0001javascript:alert(1)',
    'javascript&colon;alert(1)',
    '&#106;avascript:alert(1)',
    '&#x6A&#x61;vascript:alert(1)',
    'javascript%3Aalert(1)',
    'jav\u200bascript:alert(1)',
    'vbscript:msgbox(1)',
    'data:text/html,<script>alert(1)</script>',
    'data:text/html;base64,PHNjcmlwdD4=',
    'blob:https://example.org/1',
    'file:///etc/passwd',
    'ftp://example.org/',
    'about:blank',
    'view-source:https://example.org',
    'x:y',
    '//example.org',
    '/posts/1',
    '#top',
    '?new',
    '',
    'https://',
    'https://bank.example@evil.example/',
  ];

  test('only other pages and mailboxes are linked to', () => {
    for (const address of hostile) {
      assert.equal(safeAddress(address), undefined, address);
      for (const text of [
        `[x](${address})`,
        `[x](<${address}>)`,
        `![x](${address})`,
        `<${address}>`,
        address,
      ]) {
        const links = [...drawn(text).matchAll(/href="([^"]*)"/g)].map(([, href]) => href ?? '');
        assert.deepEqual(
          links.filter((href) => !/^(https?:\/\/[^@]+|mailto:)/.test(href)),
          [],
          text,
        );
      }
    }
    assert.equal(safeAddress('HTTPS://Example.org/a b'), 'https://example.org/a%20b');
    assert.equal(safeAddress('mailto:ada@example.org'), 'mailto:ada@example.org');
  });

  test('words that look like another address say where they lead', () => {
    const evil = 'https://evil.example/';
    for (const words of [
      'https://bank.example',
      'www.bank.example',
      'bank.example',
      '**bank.example/in**',
      'bank\u200b.example',
      '.\nhttps://bank.example/login',
      '.\nbank.example',
      '(https://bank.example)',
      '\u2800bank.example',
      'bank.example.',
      'bank\u2024example',
      'bank\uff61example',
      'https://evil.example https://bank.example',
      'see www.bank.example',
      'See: bank.example/login',
      'See:bank.example/login',
      'See:/bank.example',
      './bank.example',
      'go to bank.example, please',
      'bank.example...more',
      'evil.example bank.example',
      'bank.example@evil.example',
      'https://bank.example@evil.example',
      'login\u2192bank.example',
      'b\u00fccher.example now',
      'at 192.0.2.10',
      '\u202eelpmaxe.knab',
    ])
      assert.equal(otherHost(words, evil), 'evil.example', words);
    for (const words of [
      'my bank',
      'evil.example',
      'www.evil.example/in',
      'e.g. this',
      'https://evil.example/x',
      '(https://evil.example).',
      'evil.example.',
      'see http: there',
      'See: evil.example/login',
      'evil.example/index.html',
      'https://evil.example/a/index.html?next=bank.example#bank.example',
      'evil.example?next=bank.example',
      'evil.example:8080',
      'src/main.rs',
      'version 1.20',
      'wait... what',
    ])
      assert.equal(otherHost(words, evil), undefined, words);
    assert.match(drawn(`[https://bank.example](${evil})`), /<\/a> \(evil\.example\)/);
  });
});

describe('Markdown', () => {
  test('HTML, entities and what is not drawn stay as they were typed', () => {
    const typed = [
      '<script>alert(1)</script>',
      '<img src=x onerror=alert(1)>',
      '<b>bold</b> <!-- hidden --> <?php ?>',
      '&lt;b&gt; &amp; &#60; &copy;',
      '| a | b |\n| - | - |\n| c | d |',
      '---',
      'Title\n===',
      '[a]: https://example.org "hidden"',
      '    indented',
      '~~not struck~~',
    ];
    for (const text of typed) {
      const html = drawn(text);
      const shown = html
        .replace(/<[^>]*>/g, '')
        .replace(/&(lt|gt|quot|#x27|amp);/g, (_, name: string) =>
          name === 'lt' ? '<' : name === 'gt' ? '>' : name === 'amp' ? '&' : name === 'quot' ? '"' : "'",
        );
      assert.equal(shown, text);
      assert.deepEqual(html.match(/<(?!\/?(p|a|span)\b)[^>]*>/g) ?? [], [], html);
    }
  });

  // The page service (../pages/src/prose.rs) reads the same file.
  test('texts are drawn as the page service draws them', async () => {
    const file = await readFile(join(import.meta.dirname, 'prose.json'), 'utf8');
    const vectors = JSON.parse(file) as { text: string; html: string }[];
    assert.ok(vectors.length > 50, `${vectors.length} texts`);
    const differ = vectors
      .map(({ text, html }) => ({ text, here: drawn(text).replaceAll('&#x27;', "'"), there: html }))
      .filter(({ here, there }) => here !== there);
    assert.deepEqual(differ, []);
  });

  test('there are no links in links', () => {
    for (const text of [
      '[![a](https://a.example/b.png)](https://c.example)',
      '[<https://d.example>](https://e.example)',
      '![a [b](https://f.example)](https://g.example)',
      '[**![a](https://a.example)**](https://c.example)',
    ])
      assert.equal(drawn(text).match(/<a /g)?.length, 1, text);
  });

  test('headings do not break the outline, and images are not loaded', () => {
    assert.equal(drawn('# Loud'), '<p dir="auto"><strong>Loud</strong></p>');
    const image = drawn('![a cat](https://example.org/cat.png)');
    assert.match(image, /<a href="https:\/\/example.org\/cat.png" rel="nofollow ugc noopener">a cat<\/a>/);
    assert.doesNotMatch(image, /<img/);
  });

  test('whatever has markup is known to have some', () => {
    for (const text of [
      '*a*',
      '_a_',
      '`a`',
      '> a',
      'b\n> a',
      '- a',
      '+ a',
      '1. a',
      '# a',
      '[a](b)',
      'x@y.z',
      '\\*',
    ])
      assert.ok(hasMarkup(text), text);
    for (const text of ['www.a.example', 'http://a.example', 'HTTPS://a.example', '~~~\na\n~~~'])
      assert.ok(hasMarkup(text), text);
    for (const text of [
      'Plain words.',
      'One line\nand another',
      'a - b',
      '5 < 6 > 4',
      'No. 1',
      '#hash',
      '50 %',
    ])
      assert.ok(!hasMarkup(text), text);
  });

  test(`${COMMENT_CHARS} characters of anything are drawn within ${DRAWN_WITHIN_MS} ms`, (context) => {
    const parts = [
      '[',
      '![',
      '[](',
      '[a](',
      '[x](b ',
      '*',
      '*a ',
      '*a_',
      '**x',
      '_a',
      'a_',
      '`',
      '>',
      '> ',
      '- ',
    ];
    parts.push(
      '-\n',
      '1. ',
      '<',
      '<a ',
      '<!--',
      '&',
      '&amp;',
      'http://a.b/',
      'https://a.b?c=d ',
      'www.',
      'a@',
    );
    parts.push(
      'a.b@c.d',
      'a\n',
      '\t',
      ' ',
      '\n',
      '~',
      '~~~\n',
      '# a\n',
      'a|b\n-|-\n',
      '\\',
      '[a]: b\n',
      '[a][b]',
    );
    parts.push(
      '(',
      ')',
      '.',
      '\u00a0',
      'x',
      '=',
      '\u202e',
      '\u200b',
      '\u0301',
      '🙂',
      '**a** *b* `c` https://d.e\n\n- f\n\n',
    );
    const lead = ['', '[a](', 'http://a', 'a\n', '> ', '- ', '**'];
    drawn('warm *up* https://a.b');
    const took = parts.flatMap((part) =>
      lead.map((first): [number, string] => {
        const text = (first + part.repeat(COMMENT_CHARS)).slice(0, COMMENT_CHARS);
        return [leastMsOf(() => drawn(text)), JSON.stringify(first + part)];
      }),
    );
    const [[ms, text] = [0, '']] = took.sort(([one], [other]) => other - one);
    context.diagnostic(`the slowest took ${ms.toFixed(1)} ms: ${text}`);
    assert.ok(ms < DRAWN_WITHIN_MS, `${text} took ${ms} ms`);
  });

  test(`the longest post of \`*\` and \`_\` is drawn within ${DRAWN_WITHIN_MS} ms`, (context) => {
    drawn('warm *up* https://a.b');
    const took = ['*', '_', '_a', 'a_', '*a_', '*a ', '**x', '_*', '_a@', '[_', '`_', '~_', '!_a'].map(
      (part) => {
        const text = part.repeat(CONTENT_CHARS_MAX).slice(0, CONTENT_CHARS_MAX);
        return [leastMsOf(() => drawn(text)), part] as const;
      },
    );
    const [[ms, part] = [0, '']] = took.sort(([one], [other]) => other - one);
    context.diagnostic(`the slowest took ${ms.toFixed(1)} ms: ${part}`);
    assert.ok(ms < DRAWN_WITHIN_MS, `${part} took ${ms} ms`);
  });

  test('a text with very many `*` and `_` keeps them as they were typed, and the rest is drawn', () => {
    const some = 'Plain, *a*\n'.repeat(100);
    assert.equal(drawn(`${some}__b__`).match(/<em>/g)?.length, 100);
    const many = `${'_a* '.repeat(260)}**b** \`c\` d_e@example.org https://example.org/f_g`;
    assert.equal(
      drawn(many).replace(/<\/?span>| rel="[^"]*"/g, ''),
      `<p dir="auto">${'_a* '.repeat(260)}**b** <code>c</code> ` +
        '<a href="mailto:d_e@example.org">d_e@example.org</a> ' +
        '<a href="https://example.org/f_g">https://example.org/f_g</a></p>',
    );
  });

  test('what is nested too deep is shown all the same', () => {
    assert.match(drawn('>'.repeat(5_000)), /^<p dir="auto">(&gt;)+<\/p>$/);
    const nested = Array.from({ length: 40 }, (_, depth) => `${'  '.repeat(depth)}- at ${depth}`).join('\n');
    for (const depth of [0, 20, 39]) assert.match(drawn(nested), new RegExp(`at ${depth}\\b`));
    assert.match(drawn(`${'[a'.repeat(2_000)}](https://example.org)`), /href="https:\/\/example.org\/"/);
  });
});

describe('the live page', () => {
  let stack: Stack;
  let browser: Browser;
  let graph: Graph;

  before(async () => {
    [stack, browser] = await Promise.all([startStack({}, OPEN_TO_ALL), launchBrowser()]);
    graph = new Graph(stack.url);
  });

  after(async () => {
    await browser?.close();
    await stack?.stop();
  });

  const postUrl = (id: string) => `${stack.url}posts/${id}`;
  const MARKED = [
    'A line\nand another, with *emphasis*, **strong** and `code`.',
    '> Quoted\n> twice',
    '- one\n- two\n  1. inner',
    '```js\nconst a = "<b>";\n```',
    'See https://example.org/a_b_c and [the docs](https://example.org/docs "Docs").',
  ].join('\n\n');

  test('a post and its comments have their links and their Markdown, and the page its own outline', async () => {
    const post = await graph.createPost('# *Titles* are plain', `# A heading\n\n${MARKED}`);
    await graph.createComment(post, MARKED);
    await graph.createComment(post, 'Plain, on\ntwo lines');
    const page = await openPage(browser, postUrl(post));
    for (const place of [page.locator('.content'), page.locator('.comment .text.prose')]) {
      for (const [selector, text] of [
        ['em', 'emphasis'],
        ['strong >> nth=-1', 'strong'],
        ['p code', 'code'],
        ['blockquote p', 'Quoted\ntwice'],
        ['ul > li >> nth=0', 'one'],
        ['ul ol > li', 'inner'],
        ['pre code', 'const a = "<b>";'],
        ['a >> nth=0', 'https://example.org/a_b_c'],
        ['a >> nth=1', 'the docs'],
      ] as const)
        assert.equal(await place.locator(selector).textContent(), text, selector);
      const gap = await place.evaluate((text) => {
        const quote = text.querySelector('blockquote');
        const before = quote?.previousElementSibling;
        if (!quote || !before) return 0;
        return quote.getBoundingClientRect().top - before.getBoundingClientRect().bottom;
      });
      assert.ok(gap > 4, `a quote keeps its distance: ${gap} px`);
      for (const link of await place.locator('a').all())
        assert.equal(await link.getAttribute('rel'), 'nofollow ugc noopener');
    }
    const headings = await page.locator('main :is(h1, h2, h3, h4)').allTextContents();
    assert.deepEqual(headings, ['# *Titles* are plain', '2 comments']);
    const plain = page.locator('.comment p.text', { hasText: 'Plain' });
    const lines = await plain.evaluate(
      (text) => text.clientHeight / parseFloat(getComputedStyle(text).lineHeight),
    );
    assert.equal(Math.round(lines), 2);
    assert.deepEqual(await seriousFaults(page), []);

    // Who edits sees what was typed, and how it will look.
    await page.locator('.comment', { hasText: 'emphasis' }).hover();
    await page
      .getByRole('button', { name: /^Edit the comment/ })
      .last()
      .click();
    const editor = page.locator('.comment textarea');
    await waitForValue(editor, MARKED);
    await editor.fill('Now **bold**');
    await page.locator('.comment').getByText('Markdown works').click();
    await page.getByRole('region', { name: 'Preview' }).locator('strong', { hasText: 'bold' }).waitFor();
    assert.deepEqual(await seriousFaults(page), []);
    await closePage(page);
  });

  test('a text without markup costs nothing, and one with some is read before it is drawn', async () => {
    const code = (page: Page) =>
      page.evaluate(() =>
        performance.getEntriesByType('resource').some(({ name }) => /markdown-[^/]+\.js/.test(name)),
      );
    const plain = await graph.createPost('Plain', 'Two paragraphs.\n\nOf words.');
    await graph.createComment(plain, 'A plain comment');
    const page = await openPage(browser, postUrl(plain));
    await page.getByText('A plain comment').waitFor();
    await waitForState(page, 'Live');
    assert.equal(await code(page), false);
    await closePage(page);

    const marked = await graph.createPost(
      'Marked',
      'With **strong** words and https://example.org/ for you.',
    );
    for (let number = 1; number <= 3; number++)
      await graph.createComment(marked, `- item **${number}**\n- b`);
    for (const device of [{}, PHONE]) {
      const script = gate();
      const late = await openPage(browser, postUrl(marked), device, async (opened) => {
        await opened.addInitScript(() => {
          Object.assign(window, { shifted: 0 });
          new PerformanceObserver((list) => {
            for (const entry of list.getEntries())
              (window as unknown as { shifted: number }).shifted += (
                entry as unknown as { value: number }
              ).value;
          }).observe({ type: 'layout-shift', buffered: true });
        });
        await opened.route(/markdown-[^/]+\.js/, async (route) => {
          await script.opened;
          await route.continue();
        });
      });
      await late.locator('.comment', { hasText: '- item **1**' }).waitFor();
      await late.locator('.content', { hasText: '**strong**' }).waitFor();
      await waitForState(late, 'Live');
      await late.evaluate(() => Object.assign(window, { shifted: 0 }));
      script.open();
      await late.locator('.comment li strong', { hasText: '1' }).waitFor();
      await late.locator('.content strong').waitFor();
      const shifted = await late.evaluate(() => (window as unknown as { shifted: number }).shifted);
      assert.ok(shifted < LAYOUT_SHIFT_MAX, `shifted by ${shifted}`);
      await closePage(late);
    }

    const without = await openPage(browser, postUrl(marked), {}, (opened) =>
      opened.route(/markdown-[^/]+\.js/, (route) => route.abort()),
    );
    await without.locator('.content', { hasText: '**strong**' }).waitFor();
    await without.locator('.comment', { hasText: '- item **1**' }).waitFor();
    await closePage(without);
  });

  test('odd texts stay in their place, at 320 px too', async () => {
    const long = 'ThisWordIsMuchLongerThanAnyLine'.repeat(12);
    const post = await graph.createPost(
      'Odd texts',
      `${long}\n\n\`${long}\`\n\n\`\`\`\n${long}\n\`\`\`\n\n> ${long}`,
    );
    for (const text of [
      `https://example.org/${long}`,
      `- ${long}\n  - ${long}\n    - **${long}**`,
      `**\u202enekorb si siht**\u202e after it`,
      '\u200b**\u200b\u200b**\u200bx',
      '123456789. a list that begins late',
      `${'> '.repeat(30)}deep`,
      `${'  '.repeat(30)}- not so deep`,
    ])
      await graph.createComment(post, text, 'Name \u202ethat turns');
    const page = await openPage(browser, postUrl(post), { ...PHONE, viewport: { width: 320, height: 640 } });
    await page.locator('.comment .prose').nth(6).waitFor();
    await page.locator('.comment li strong').first().waitFor();
    await eventually(async () => {
      const wide = await page.evaluate(() =>
        [...document.querySelectorAll('html, main, .comment-body, .prose, .prose *')]
          .filter((part) => part.scrollWidth > part.clientWidth + 1 && part.clientWidth > 0)
          .map((part) => `${part.tagName}: ${part.textContent?.slice(0, 30)}`),
      );
      assert.deepEqual(wide, []);
    });
    // The time stands after the name, whichever way the name runs.
    const [name, when] = await page
      .locator('.comment')
      .first()
      .evaluate((comment) =>
        ['.name', '.when'].map((part) => comment.querySelector(part)?.getBoundingClientRect().left ?? 0),
      );
    assert.ok((when ?? 0) > (name ?? 0), 'the time stands after the name');
    assert.deepEqual(await seriousFaults(page), []);
    await closePage(page);
  });
});
