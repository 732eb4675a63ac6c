// Texts of the greatest lengths, of several kinds: the same ones in each run. They repeat less than what people write,
// so they compress worse.

export const TITLE_CHARS = 200;
export const CONTENT_CHARS = 20_000;
export const COMMENT_CHARS = 5_000;
export const AUTHOR_CHARS = 100;

/** A text of so many characters, without a blank at its ends. */
export type Write = (chars: number) => string;

/** The kinds of texts, by their names. */
export function textKinds(): Map<string, Write> {
  const random = randomNumbers();
  const words = vocabulary(random);
  const anyOf = <Item>(items: readonly Item[]) => items[random(items.length)] as Item;
  const codePoint = (from: number, count: number) => String.fromCodePoint(from + random(count));

  const sentence = () =>
    `${Array.from({ length: 5 + random(15) }, () => anyOf(words)).join(' ')}${anyOf(['.', '?', ', and', ';'])}`;
  const marked = () => {
    const [one, two, three] = [anyOf(words), anyOf(words), anyOf(words)];
    return anyOf([
      () => `**${one}** ${two}`,
      () => `[${one} ${two}](https://${three}.example/${one}?q=${two}&n=${random(1_000)})`,
      () => `\n\n- ${one} *${two}*\n- \`${three}\``,
      () => `\n\n> ${one} "${two}" <${three}>\n\n`,
      () => `\n\n\`\`\`js\nconst ${one} = ${two}('${three}');\n\`\`\`\n\n`,
      () => `${one} ${two} ${three}`,
    ])();
  };
  /** Kana and the commonest kanji, about as often as in newspapers. */
  const japanese = () =>
    random(10) < 6 ? codePoint(0x3041, 83) : random(12) === 0 ? '、' : codePoint(0x4e00, 2_136);

  const letters = (count: number) => Array.from({ length: count }, () => anyOf(LETTERS)).join('');
  const ideograph = () => {
    const index = random(IDEOGRAPHS.reduce((sum, [from, to]) => sum + to - from + 1, 0));
    let before = 0;
    for (const [from, to] of IDEOGRAPHS) {
      if (index - before <= to - from) return String.fromCodePoint(from + index - before);
      before += to - from + 1;
    }
    return '';
  };
  /** Of all planes but the first, without what no text may have and what cannot be seen. */
  const fourBytes = () => {
    for (;;) {
      const code = 0x10000 + random(0x100000);
      if ((code & 0xfffe) !== 0xfffe && code >> 12 !== 0xe0) return String.fromCodePoint(code);
    }
  };
  const allLetters = lettersOfAllScripts();

  return new Map<string, Write>([
    ['prose', written(() => `${sentence()} `)],
    ['Markdown', written(() => `${marked()} `)],
    ['Japanese', written(japanese)],
    ['emoji', written(() => codePoint(0x1f300, 720))],
    ['random letters', written(() => letters(1))],
    // What compresses worst, by the character and by the byte.
    ['random ideographs', written(ideograph)],
    ['random letters of all scripts', written(() => anyOf(allLetters))],
    ['random characters of four bytes', written(fourBytes)],
    ['random ASCII', written(() => codePoint(0x21, 94))],
    // A page has a text as HTML and as JSON. These differ there, so that the one does not help to compress the other.
    ['letters and quotes', written(() => `${letters(3)}"`)],
    ['characters and quotes', written(() => `${fourBytes()}"`)],
    ['characters in code', written(() => `\`${fourBytes()}\``)],
    ['characters in paragraphs', written(() => `${fourBytes()}\n\n`)],
    ['mailboxes', written(() => `${letters(1)}@${letters(1)}.${letters(2)} `.replace(/[+/]/g, 'x'))],
    ['links', written(() => `[${letters(3)}](http:${letters(4)}) `)],
  ]);
}

/** Of all ideographs: extension A, the basic ones, and extension B. */
const IDEOGRAPHS = [
  [0x3400, 0x4dbf],
  [0x4e00, 0x9fff],
  [0x20000, 0x2a6df],
] as const;

const LETTERS = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'];

function lettersOfAllScripts(): string[] {
  const letters: string[] = [];
  for (let code = 0; code <= 0x3ffff; code++) {
    const letter = code >= 0xd800 && code <= 0xdfff ? '' : String.fromCodePoint(code);
    if (/\p{L}/u.test(letter)) letters.push(letter);
  }
  return letters;
}

function written(next: () => string): Write {
  return (chars) => {
    const all: string[] = [];
    while (all.length < chars) all.push(...next());
    return all.slice(0, chars).join('').trim();
  };
}

/** Four thousand words of two to four syllables. */
function vocabulary(random: (below: number) => number): string[] {
  const [begins, ends] = [
    'b c d f g l m n p r s t v th st pr'.split(' '),
    'a e i o u an er in al on'.split(' '),
  ];
  const syllable = () => `${begins[random(begins.length)]}${ends[random(ends.length)]}`;
  return Array.from({ length: 4_000 }, () => Array.from({ length: 2 + random(3) }, syllable).join(''));
}

/** Whole numbers from 0, below what is asked for: xorshift32 from a fixed seed. */
function randomNumbers(): (below: number) => number {
  let state = 0x9e3779b9;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}
