// A network between browser and server that can be cut: refused at once, or silent.

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export class Proxy {
  #open = new Set<Socket>();
  #state: 'whole' | 'cut' | 'silent' = 'whole';

  private constructor(
    readonly url: string,
    readonly server: Server,
  ) {}

  static async start(target: string): Promise<Proxy> {
    const { hostname, port } = new URL(target);
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const proxy = new Proxy(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`, server);
    server.on('connection', (client: Socket) => proxy.#join(client, connect(Number(port), hostname)));
    return proxy;
  }

  /** Connections break, and new ones are reset. */
  cut(): void {
    this.#state = 'cut';
    this.#open.forEach((socket) => socket.destroy());
  }

  /** Connections stay, and nothing comes through. */
  silence(): void {
    this.#state = 'silent';
    this.#open.forEach(silence);
  }

  /** The network works again. Connections of the time before stay as they are: broken, or silent for good. */
  restore(): void {
    this.#state = 'whole';
  }

  async stop(): Promise<void> {
    this.cut();
    this.server.close();
    await once(this.server, 'close');
  }

  #join(client: Socket, server: Socket): void {
    for (const socket of [client, server]) {
      this.#open.add(socket);
      const other = socket === client ? server : client;
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#open.delete(socket);
        other.destroy();
      });
    }
    if (this.#state === 'cut') return void client.destroy();
    client.pipe(server);
    server.pipe(client);
    // After `pipe`, which would set them going.
    if (this.#state === 'silent') [client, server].forEach(silence);
  }
}

/** Not `pause` alone: a pipe goes on when what it writes to has room again. */
function silence(socket: Socket): void {
  socket.unpipe();
  socket.pause();
}
