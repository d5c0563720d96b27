/**
 * Finds the comments of a declaration: those directly above it and those after it on its last line. Comments that are
 * separated by an empty line, such as licences and headings, belong to no declaration.
 */

import { withoutAnnotations } from './annotations.js';
import type { Comment, Token } from './scanner.js';

/** The comments of the declaration that consists of the tokens `start` to `end`. */
export function commentsOf(tokens: readonly Token[], start: number, end: number): Comment[] {
  const first = tokens[start];
  const last = tokens[end - 1];
  if (first === undefined || last === undefined) return [];
  return [
    ...above(first, tokens[start - 1]),
    ...opening(tokens, start, end),
    ...behind(last, tokens[end]),
    ...inside(tokens, start, end),
  ];
}

/** The text of comments as documentation, without annotations; may be empty. */
export function documentation(comments: readonly Comment[]): string {
  return comments
    .map((comment) => clean(withoutAnnotations(comment.text)))
    .filter((text) => text !== '')
    .join('\n');
}

/** The comments after the first `{`, on its line. */
function opening(tokens: readonly Token[], start: number, end: number): Comment[] {
  for (let at = start; at < end; at++) {
    const token = tokens[at] as Token;
    if (token.kind === 'punct' && token.text === '{') return behind(token, tokens[at + 1]);
  }
  return [];
}

/** The comments directly above `token`, without one that belongs to the line before. */
export function above(token: Token, before: Token | undefined): Comment[] {
  const found: Comment[] = [];
  let line = token.line;
  for (const comment of token.comments.toReversed()) {
    if (comment.endLine < line - 1) break;
    if (before !== undefined && comment.line === before.line && before.span.source === token.span.source)
      break;
    found.unshift(comment);
    line = comment.line;
  }
  return found;
}

/** The comments after `token` on its line. */
function behind(token: Token, next: Token | undefined): Comment[] {
  const found: Comment[] = [];
  for (const comment of next?.comments ?? []) {
    if (comment.line !== token.line) break;
    found.push(comment);
  }
  return found;
}

/** The comments between the last token of a member and its `,` or `;`. */
function inside(tokens: readonly Token[], start: number, end: number): Comment[] {
  const last = tokens[end - 1];
  if (last === undefined || end - 1 === start || !/^[,;]$/.test(last.text)) return [];
  return last.comments.filter((comment) => comment.line === tokens[end - 2]?.line);
}

/** The text of a comment without leading asterisks and indentation. */
function clean(text: string): string {
  const lines = text.split(/\r?\n/).map((line) => line.replace(/^[ \t]*\*+(?!\S*\*\/)/, '').trimEnd());
  const indents = lines
    .slice(1)
    .filter((line) => line.trim() !== '')
    .map((line) => line.search(/\S/));
  const indent = indents.length === 0 ? 0 : Math.min(...indents);
  const [head = '', ...rest] = lines;
  const dedented = [head.trim(), ...rest.map((line) => line.slice(indent))].join('\n');
  const tidy = dedented
    .replace(/^[/*!<\s-]*\n/, '')
    .replace(/^[*!<\s]+/, '')
    .trim();
  return /[\p{L}\p{N}]/u.test(tidy) ? tidy : '';
}
