'use strict';

const { emit, failure, logger } = require('./events');
const body = require('./body');

// Sends one message after the other; the client has no other mode.
module.exports = async function send(options, context) {
  const count = options.number('count', 1);
  const first = options.number('first-seq', 0);
  const intervalMs = options.number('interval-ms', 0);
  const tags = options.all('tag');
  const keys = options.text('keys');
  const keyPrefix = options.text('key-prefix');
  const shards = options.number('shards', 0);
  const delayLevel = options.number('delay-level', 0);
  const size = options.number('size', 0);
  const compressible = options.flag('compressible');
  const prefix = options.text('body', 'm');
  const topic = options.required('topic');
  const properties = options.all('property');
  const settings = {
    httpclient: require('urllib'),
    nameSrv: context.namesrv,
    producerGroup: options.text('group', 'bolide-e2e-node-producer'),
    retryTimesWhenSendFailed: options.number('retries', 3),
    sendMsgTimeout: options.number('send-timeout-ms', 10000),
    compressMsgBodyOverHowmuch: options.number('compress-over', 4096),
    logger,
  };
  options.refuseUnknown();

  const { Producer, Message } = require('ali-ons');
  const producer = new Producer(settings);
  producer.on('error', error => console.error(error));
  await producer.ready();
  let sent = 0;
  let failed = 0;
  for (let seq = first; seq < first + count && !context.expired(); seq++) {
    const content = body.make(`${prefix}-${seq}`, size, compressible);
    // The client compresses in place: the sum is taken of what the caller gave.
    const crc = body.crc(content);
    const message = new Message(topic, tags.length ? tags[seq % tags.length] : '', content);
    if (keys) {
      message.keys = keys.split(' ');
    } else if (keyPrefix) {
      message.keys = [ `${keyPrefix}-${seq}` ];
    }
    if (shards > 0) {
      message.shardingKey = `shard-${seq % shards}`;
    }
    if (delayLevel > 0) {
      message.delayTimeLevel = delayLevel;
    }
    for (const property of properties) {
      const [ name, value ] = property.split(/=(.*)/s);
      message.properties[name] = value.replaceAll('{seq}', String(seq));
    }
    try {
      const result = await producer.send(message);
      sent++;
      emit('sent', {
        seq, count: 1, status: result.sendStatus, msgId: result.msgId, offsetMsgId: result.offsetMsgId, topic: result.messageQueue.topic,
        broker: result.messageQueue.brokerName, queueId: Number(result.messageQueue.queueId), queueOffset: Number(result.queueOffset),
        size: content.length, crc,
      });
    } catch (error) {
      failed++;
      failure('failed', error, { seq });
    }
    await new Promise(resolve => setTimeout(resolve, intervalMs));
  }
  await producer.close();
  emit('done', { sent, failed });
  return sent === count && failed === 0;
};
